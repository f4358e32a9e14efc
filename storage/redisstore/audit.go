package redisstore

import (
	"context"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/grantd/grantd/storage"
)

const (
	// auditKey is the key of the stream of all events, each with one field,
	// auditField. It shares a slot with the keys of the marks.
	auditKey   = "grantd:{audit}"
	auditField = "e"

	// auditOrigin is the cursor before all events.
	auditOrigin = "0-0"

	// auditMark is how long a call of AppendAudit may be repeated.
	auditMark = 2 * time.Minute
)

// AppendAudit implements storage.Audit in one round trip for every 256 events.
func (s *Store) AppendAudit(ctx context.Context, events ...storage.AuditEvent) error {
	for chunk := range slices.Chunk(events, pipelined) {
		records, digest := storage.EncodeAudit(chunk)
		args := []any{auditMark.Milliseconds()}
		for _, r := range records {
			args = append(args, r)
		}
		keys := []string{auditKey, auditKey + hex.EncodeToString(digest)}
		if err := auditScript.Run(ctx, s.client, keys, args...).Err(); err != nil {
			return unavailable(ctx, err)
		}
	}
	return nil
}

// ListAudit implements storage.Audit in one round trip.
func (s *Store) ListAudit(ctx context.Context, q storage.AuditQuery, limit int) (storage.AuditPage, error) {
	for _, cursor := range []string{q.After, q.Before} {
		if cursor != "" && !streamID(cursor) || q.After != "" && q.Before != "" {
			return storage.AuditPage{}, storage.ErrNotFound
		}
	}
	// COUNT 0 would return all events.
	if limit < 1 {
		return q.Page(nil, 0, auditOrigin), nil
	}
	count := int64(q.Scan(limit))
	var cmd *redis.XMessageSliceCmd
	switch {
	case q.After != "":
		cmd = s.client.XRangeN(ctx, auditKey, "("+q.After, "+", count)
	case q.Before == auditOrigin: // Redis answers an error, because no id can be before it
		return q.Page(nil, limit, auditOrigin), nil
	case q.Before != "":
		cmd = s.client.XRevRangeN(ctx, auditKey, "("+q.Before, "-", count)
	default:
		cmd = s.client.XRevRangeN(ctx, auditKey, "+", "-", count)
	}
	found, err := auditEvents(ctx, cmd)
	if err != nil {
		return storage.AuditPage{}, err
	}
	return q.Page(found, limit, auditOrigin), nil
}

func auditEvents(ctx context.Context, cmd *redis.XMessageSliceCmd) ([]storage.AuditEvent, error) {
	messages, err := cmd.Result()
	if err != nil {
		return nil, unavailable(ctx, err)
	}
	events := make([]storage.AuditEvent, 0, len(messages))
	for _, m := range messages {
		record, _ := m.Values[auditField].(string)
		e, err := storage.DecodeAudit(m.ID, []byte(record))
		if err != nil {
			return nil, fmt.Errorf("redisstore: audit event: %w", err)
		}
		events = append(events, e)
	}
	return events, nil
}

// streamID reports whether the text is a stream id in the form that Redis
// writes.
func streamID(text string) bool {
	first, second, found := strings.Cut(text, "-")
	for _, part := range []string{first, second} {
		n, err := strconv.ParseUint(part, 10, 64)
		if err != nil || strconv.FormatUint(n, 10) != part {
			return false
		}
	}
	return found && text != "18446744073709551615-18446744073709551615" // no id can be after it
}

// TrimAudit implements storage.Audit. It compares the times of the events, not
// their ids, which have the time of Redis.
func (s *Store) TrimAudit(ctx context.Context, before time.Time, keep int) error {
	if err := s.client.XTrimMaxLen(ctx, auditKey, int64(max(keep, 0))).Err(); err != nil {
		return unavailable(ctx, err)
	}
	for {
		oldest, err := auditEvents(ctx, s.client.XRangeN(ctx, auditKey, "-", "+", pipelined))
		if err != nil {
			return err
		}
		old := 0
		for old < len(oldest) && oldest[old].Time.Before(before) {
			old++
		}
		if old == 0 {
			return nil
		}
		if err := s.dropAudit(ctx, oldest[old-1].ID); err != nil {
			return err
		}
		if old < len(oldest) {
			return nil
		}
	}
}

// dropAudit forgets the events up to the one with that id.
func (s *Store) dropAudit(ctx context.Context, id string) error {
	// The least id after it. The second part of an id never reaches its
	// maximum.
	ms, seq, _ := strings.Cut(id, "-")
	n, err := strconv.ParseUint(seq, 10, 64)
	if err != nil {
		return unavailable(ctx, err)
	}
	return unavailable(ctx, s.client.XTrimMinID(ctx, auditKey, ms+"-"+strconv.FormatUint(n+1, 10)).Err())
}
