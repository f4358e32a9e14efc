package storage

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"strings"
	"time"
)

// EncodeAudit returns the records of the events, the JSON of each without its id,
// and a digest of them all: equal for the same events only.
func EncodeAudit(events []AuditEvent) (records [][]byte, digest []byte, err error) {
	h := sha256.New()
	for _, e := range events {
		record, err := appendAuditRecord(make([]byte, 0, 320), e)
		if err != nil {
			return nil, nil, fmt.Errorf("storage: audit event: %w", err)
		}
		records = append(records, record)
		h.Write(record)
	}
	return records, h.Sum(nil)[:16], nil
}

// DecodeAudit reads a record, of the event with that id.
func DecodeAudit(id string, record []byte) (AuditEvent, error) {
	var e AuditEvent
	if err := json.Unmarshal(record, &e); err != nil {
		return AuditEvent{}, ErrUnreadable // the cause might quote the record
	}
	e.ID = id
	return e, nil
}

// appendAuditRecord writes what json.Marshal would, but for the id. Every token that
// is issued has an event, and package json takes several times as long.
func appendAuditRecord(b []byte, e AuditEvent) ([]byte, error) {
	b = append(b, `{"time":"`...)
	b = e.Time.UTC().AppendFormat(b, time.RFC3339Nano)
	b = append(b, '"')
	for _, text := range [...]struct{ name, value string }{
		{`,"action":`, string(e.Action)},
		{`,"outcome":`, string(e.Outcome)},
		{`,"actor_user":`, e.ActorUser},
		{`,"actor_user_id":`, e.ActorUserID},
		{`,"actor_client":`, e.ActorClient},
		{`,"username":`, e.Username},
		{`,"user_id":`, e.UserID},
		{`,"client_id":`, e.ClientID},
		{`,"grant_id":`, e.GrantID},
		{`,"object":`, e.Object},
		{`,"request_id":`, e.RequestID},
		{`,"detail":`, e.Detail},
	} {
		if text.value == "" {
			continue
		}
		b = append(b, text.name...)
		var err error
		if b, err = appendJSONText(b, text.value); err != nil {
			return nil, err
		}
	}
	if e.Local {
		b = append(b, `,"local":true`...)
	}
	if e.Address.IsValid() {
		address := e.Address.String() // a zone may hold anything
		b = append(b, `,"address":`...)
		var err error
		if b, err = appendJSONText(b, address); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func appendJSONText(b []byte, s string) ([]byte, error) {
	if !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		b = append(b, '"')
		b = append(b, s...)
		return append(b, '"'), nil
	}
	quoted, err := json.Marshal(s)
	return append(b, quoted...), err
}
