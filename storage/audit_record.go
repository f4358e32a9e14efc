package storage

import (
	"crypto/sha256"
	"encoding/json"
	"time"

	"github.com/grantd/grantd/internal/jsonobject"
)

// EncodeAudit returns the records of the events, the JSON of each without its
// id, and a digest of them all, which only the same events share.
func EncodeAudit(events []AuditEvent) (records [][]byte, digest []byte) {
	h := sha256.New()
	for _, e := range events {
		record := appendAuditRecord(make([]byte, 0, 320), e)
		records = append(records, record)
		h.Write(record)
	}
	return records, h.Sum(nil)[:16]
}

// DecodeAudit reads the record of the event with that id.
func DecodeAudit(id string, record []byte) (AuditEvent, error) {
	var e AuditEvent
	if err := json.Unmarshal(record, &e); err != nil {
		return AuditEvent{}, ErrUnreadable // the cause might quote the record
	}
	e.ID = id
	return e, nil
}

// appendAuditRecord writes what json.Marshal would, but without the id.
func appendAuditRecord(b []byte, e AuditEvent) []byte {
	o := jsonobject.Begin(b)
	o.Text("time", e.Time.UTC().Format(time.RFC3339Nano))
	for _, text := range [...]struct{ name, value string }{
		{"action", string(e.Action)},
		{"outcome", string(e.Outcome)},
		{"actor_user", e.ActorUser},
		{"actor_user_id", e.ActorUserID},
		{"actor_client", e.ActorClient},
		{"username", e.Username},
		{"user_id", e.UserID},
		{"client_id", e.ClientID},
		{"grant_id", e.GrantID},
		{"object", e.Object},
		{"request_id", e.RequestID},
		{"detail", e.Detail},
	} {
		o.TextIfAny(text.name, text.value)
	}
	if e.Local {
		o.Truth("local", true)
	}
	if e.Address.IsValid() {
		o.Text("address", e.Address.String()) // a zone may hold anything
	}
	return o.End()
}
