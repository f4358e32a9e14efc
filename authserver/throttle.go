package authserver

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/grantd/grantd/authserver/passhash"
	"github.com/grantd/grantd/authserver/throttle"
)

// The errors for guesses of client secrets and passwords that are refused without
// being judged: 429 (RFC 6585 section 4), for which RFC 6749 has no code. The code
// isn't invalid_grant, because clients take that for a wrong password and ask the user
// for another. errCrowded means that too many wait at once, even if none has failed.
var (
	errThrottled = &Error{
		Status: http.StatusTooManyRequests, Code: "temporarily_unavailable",
		Description: "Too many client authentications from this network failed. Repeat the request after the time in Retry-After.",
	}
	errGuesses = &Error{
		Status: http.StatusTooManyRequests, Code: "temporarily_unavailable",
		Description: "Too many sign-ins failed. Repeat the request after the time in Retry-After.",
	}
	errCrowded = &Error{
		Status: http.StatusTooManyRequests, Code: "temporarily_unavailable",
		Description: "Too many sign-ins of one user at the same time. Repeat the request after the time in Retry-After.",
	}
)

// throttled turns the refusal of a client authentication into its answer, and
// returns any other error unchanged.
func throttled(err error) error {
	var r *throttle.Refusal
	if errors.As(err, &r) {
		return errThrottled.reason("too many failed client authentications from the network").after(r.Wait)
	}
	return err
}

// refused turns the refusal of a password guess into its answer, and returns
// any other error unchanged.
func refused(err error) error {
	var r *throttle.Refusal
	if errors.As(err, &r) && r.Crowded {
		return errCrowded.reason("too many sign-ins of the user at once").after(r.Wait)
	}
	if errors.As(err, &r) {
		return errGuesses.reason("too many wrong passwords for the user or from the network").after(r.Wait)
	}
	return err
}

// after returns a copy of e with the time to wait, rounded up to seconds.
func (e *Error) after(wait time.Duration) *Error {
	c := *e
	c.retryAfter = int((wait + time.Second - 1) / time.Second)
	return &c
}

// attempt takes a place for the attempt to sign in: see throttle.Limiter.Begin.
func (s *Server) attempt(ctx context.Context, req tokenRequest) (*throttle.Place, error) {
	a := throttle.Attempt{
		Username: req.params["username"], Password: req.params["password"],
		Network: throttle.NetworkOf(req.address),
	}
	if name, err := passhash.Username(a.Username); err == nil {
		a.Username = name
	} else {
		a.Nobody = true
	}
	place, err := s.limiter.Begin(ctx, a)
	return place, refused(err)
}

// wrong tells the place that the sign-in failed, and returns the error to
// answer with.
func (s *Server) wrong(ctx context.Context, req tokenRequest, place *throttle.Place, why fixed) error {
	last, err := place.Failed(ctx)
	req.event.Throttled = last
	if err != nil {
		return refused(err)
	}
	return ErrInvalidGrant.reason(why)
}
