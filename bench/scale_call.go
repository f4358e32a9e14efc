package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"
)

// caller sends requests over one connection, one after another. It costs little
// compared with the server.
type caller struct {
	addr    string
	conn    net.Conn
	answers *bufio.Reader
}

func (c *caller) close() {
	if c.conn != nil {
		c.conn.Close()
	}
}

// connect opens the connection, unless it is open.
func (c *caller) connect(ctx context.Context) (err error) {
	if c.conn != nil {
		return nil
	}
	if c.conn, err = new(net.Dialer).DialContext(ctx, "tcp", c.addr); err == nil {
		c.answers = bufio.NewReader(c.conn)
	}
	return err
}

// call sends the request and reads the answer. It fails unless the status is one of
// want.
func (c *caller) call(request string, want ...int) (body []byte, took time.Duration, err error) {
	began := time.Now()
	if _, err := io.WriteString(c.conn, request); err != nil {
		return nil, 0, err
	}
	answer, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return nil, 0, err
	}
	defer answer.Body.Close()
	body, err = io.ReadAll(answer.Body)
	took = time.Since(began)
	if err == nil && !slices.Contains(want, answer.StatusCode) {
		err = fmt.Errorf("status %d instead of %v: %s", answer.StatusCode, want, body)
	}
	return body, took, err
}

// request returns the bytes of a request. The body is JSON if it begins with a brace,
// otherwise a form.
func (c *caller) request(method, path, authorization, body string) string {
	kind := "application/x-www-form-urlencoded"
	if strings.HasPrefix(body, "{") {
		kind = "application/json"
	}
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: %s\r\n", method, path, c.addr, authorization)
	if body == "" {
		return head + "\r\n"
	}
	return fmt.Sprintf("%sContent-Type: %s\r\nContent-Length: %d\r\n\r\n%s", head, kind, len(body), body)
}

// operation is an operation that is measured.
type operation struct {
	name string
	do   func(*stage) (time.Duration, error)
	rest bool // wait after each call, until its work in the background is done
}

// The operations, in the order of the table.
const (
	validating = "validate: GET /users/me"
	issuing    = "issue: POST /token, client_credentials"
	refreshing = "refresh: POST /token, refresh_token"
	listing    = "list: GET /admin/v1/grants?user=, a page of 100 of 200"
	listingAll = "list: GET /admin/v1/grants?client=, a page of 100 of all"
	revoking   = "revoke a user with 10: POST /admin/v1/revocations"
)

var operations = []operation{
	{name: validating, do: (*stage).validate},
	{name: issuing, do: (*stage).issue},
	{name: refreshing, do: (*stage).refreshOne},
	{name: listing, do: func(st *stage) (time.Duration, error) { return st.list("user=" + listedUser(st.turn%listUsers).name) }},
	{name: listingAll, do: func(st *stage) (time.Duration, error) { return st.list("client=demo") }},
	{name: revoking, do: (*stage).revokeOne, rest: true},
}

// demoBasic are the credentials of the demo client.
const demoBasic = "Basic ZGVtbzpkZW1vLXNlY3JldA=="

func (st *stage) validate() (time.Duration, error) {
	token := st.access[st.turn%len(st.access)]
	_, took, err := st.calls.call(st.calls.request(http.MethodGet, "/users/me", "Bearer "+token, ""), http.StatusOK)
	return took, err
}

func (st *stage) issue() (time.Duration, error) {
	_, took, err := st.calls.call(st.calls.request(http.MethodPost, "/token", demoBasic, "grant_type=client_credentials"), http.StatusOK)
	return took, err
}

// refreshOne spends a refresh token, and replaces it by its successor.
func (st *stage) refreshOne() (time.Duration, error) {
	token := &st.refresh[st.turn%len(st.refresh)]
	form := "grant_type=refresh_token&refresh_token=" + *token
	body, took, err := st.calls.call(st.calls.request(http.MethodPost, "/token", demoBasic, form), http.StatusOK)
	if err != nil {
		return took, err
	}
	var p pair
	if err := json.Unmarshal(body, &p); err != nil || p.Refresh == "" || p.Refresh == *token {
		return took, fmt.Errorf("no new refresh token: %w", err)
	}
	*token = p.Refresh
	return took, nil
}

func (st *stage) list(query string) (time.Duration, error) {
	const page = 100
	path := fmt.Sprintf("/admin/v1/grants?%s&limit=%d", query, page)
	body, took, err := st.calls.call(st.calls.request(http.MethodGet, path, "Bearer "+st.admin, ""), http.StatusOK)
	if err != nil {
		return took, err
	}
	var list struct {
		Grants []struct{} `json:"grants"`
	}
	if err := json.Unmarshal(body, &list); err != nil || len(list.Grants) != page {
		return took, errors.Join(fmt.Errorf("a page of %d", len(list.Grants)), err)
	}
	return took, nil
}

// revokeOne ends the grants of one more user.
func (st *stage) revokeOne() (time.Duration, error) {
	body := `{"user":"` + revokedUser(st.revoked%maxRevoked).name + `"}`
	st.revoked++
	_, took, err := st.calls.call(st.calls.request(http.MethodPost, "/admin/v1/revocations", "Bearer "+st.admin, body), http.StatusOK, http.StatusAccepted)
	return took, err
}

// block is how many calls in a row a size gets before it is the next one's turn.
const block = 20

// round measures every operation on every size. Round 0 isn't counted.
func (s *scale) round(ctx context.Context, round int) (err error) {
	for _, st := range s.stages {
		if st.admin, err = st.server.admin(ctx); err != nil { // admin tokens live only some minutes
			return fmt.Errorf("%s: %w", st.name, err)
		}
		if err := st.calls.connect(ctx); err != nil {
			return fmt.Errorf("%s: %w", st.name, err)
		}
	}
	for _, op := range operations {
		calls := s.o.calls
		if op.name == revoking {
			calls = s.o.revokes
		}
		if err := s.measure(ctx, op, calls, round); err != nil {
			return fmt.Errorf("%s: %w", op.name, err)
		}
	}
	return nil
}

func (s *scale) measure(ctx context.Context, op operation, calls, round int) error {
	before := map[*stage]time.Duration{}
	took := map[*stage][]time.Duration{}
	for _, st := range s.stages {
		before[st] = st.busy(ctx)
	}
	for done := 0; done < calls; done += block {
		for i := range s.stages {
			st := s.stages[i]
			if (done/block+round)%2 == 1 { // the first size comes last now
				st = s.stages[len(s.stages)-1-i]
			}
			some, err := st.repeat(op, min(block, calls-done))
			if err != nil {
				return fmt.Errorf("%s: %w", st.name, err)
			}
			took[st] = append(took[st], some...)
		}
	}
	for _, st := range s.stages {
		if round > 0 {
			st.took[op.name] = append(st.took[op.name], took[st])
			st.spent[op.name] += (st.busy(ctx) - before[st]) / time.Duration(calls)
		}
	}
	return ctx.Err()
}

// repeat calls the operation calls times.
func (st *stage) repeat(op operation, calls int) ([]time.Duration, error) {
	var took []time.Duration
	for range calls {
		st.turn++
		d, err := op.do(st)
		if err != nil {
			return nil, err
		}
		if took = append(took, d); op.rest {
			st.server.settle()
		}
	}
	return took, nil
}

// busy returns the processor time that the stage's Redis has used, 0 without Redis.
func (st *stage) busy(ctx context.Context) time.Duration {
	if st.redis == nil {
		return 0
	}
	info, _ := st.redis.do(ctx, "INFO", "cpu").Text()
	var sum time.Duration
	for line := range strings.Lines(info) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if name == "used_cpu_user" || name == "used_cpu_sys" {
			d, _ := time.ParseDuration(value + "s")
			sum += d
		}
	}
	return sum
}

// sweepAll revokes everything and waits for the sweep, up to longest.
func (st *stage) sweepAll(ctx context.Context, longest time.Duration) error {
	admin, err := st.server.admin(ctx)
	if err != nil {
		return err
	}
	var r receipt
	if r, _, err = st.server.revoke(ctx, admin, `{"all":true}`); err != nil {
		return err
	}
	if admin, err = st.server.admin(ctx); err != nil { // the admin's token is dead too
		return err
	}
	began := time.Now()
	for r.Status != "complete" && time.Since(began) < longest {
		time.Sleep(200 * time.Millisecond)
		if r, err = st.server.progress(ctx, admin, r.ID); err != nil {
			return err
		}
	}
	took, n := time.Since(began), r.Grants.Ended
	if r.Status == "complete" {
		took = r.Completed.Sub(r.Requested)
		st.swept = fmt.Sprintf("%s, %d left", took.Round(100*time.Millisecond), r.Verified.Survivors)
	} else {
		whole := time.Duration(float64(took) / float64(n) * float64(st.grants))
		st.swept = fmt.Sprintf("reckoned: %s", whole.Round(10*time.Second))
	}
	st.swept += fmt.Sprintf(" (%.0f a second)", float64(n)/took.Seconds())
	return nil
}
