package storage

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

func TestAnAuditRecordHoldsWhatIsSetAndNoID(t *testing.T) {
	e := AuditEvent{ID: "17", Time: time.Date(2026, 1, 31, 13, 0, 0, 5e6, time.FixedZone("", 3600)), Action: ActRefresh, Outcome: Success, ActorClient: "web"}
	records, digest, err := EncodeAudit([]AuditEvent{e, e})
	if err != nil {
		t.Fatal(err)
	}
	const want = `{"time":"2026-01-31T12:00:00.005Z","action":"refresh","outcome":"success","actor_client":"web"}`
	if len(records) != 2 || string(records[1]) != want {
		t.Errorf("records %s, want each %s", records, want)
	}
	_, same, _ := EncodeAudit([]AuditEvent{e, e})
	e.RequestID = "another"
	_, other, _ := EncodeAudit([]AuditEvent{e, e})
	if len(digest) != 16 || !bytes.Equal(digest, same) || bytes.Equal(digest, other) {
		t.Errorf("digests %x, %x, %x", digest, same, other)
	}
	got, err := DecodeAudit("18", records[0])
	if err != nil || got.ID != "18" || !got.Time.Equal(e.Time) || got.ActorClient != "web" {
		t.Errorf("decoded %+v, %v", got, err)
	}
}

func TestWhatIsNoAuditRecordIsNotQuoted(t *testing.T) {
	for _, record := range []string{"", "{", `{"time":"s3cret"}`, `"s3cret"`, `{"address":"s3cret"}`} {
		_, err := DecodeAudit("1", []byte(record))
		if !errors.Is(err, ErrEncoding) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", record, err)
		}
	}
}
