package storage

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestAnAuditRecordHoldsWhatIsSetAndNoID(t *testing.T) {
	e := AuditEvent{ID: "17", Time: time.Date(2026, 1, 31, 13, 0, 0, 5e6, time.FixedZone("", 3600)), Action: ActRefresh, Outcome: Success, ActorClient: "web"}
	records, digest := EncodeAudit([]AuditEvent{e, e})
	const want = `{"time":"2026-01-31T12:00:00.005Z","action":"refresh","outcome":"success","actor_client":"web"}`
	if len(records) != 2 || string(records[1]) != want {
		t.Errorf("records %s, want each %s", records, want)
	}
	_, same := EncodeAudit([]AuditEvent{e, e})
	e.RequestID = "another"
	_, other := EncodeAudit([]AuditEvent{e, e})
	if len(digest) != 16 || !bytes.Equal(digest, same) || bytes.Equal(digest, other) {
		t.Errorf("digests %x, %x, %x", digest, same, other)
	}
	got, err := DecodeAudit("18", records[0])
	if err != nil || got.ID != "18" || !got.Time.Equal(e.Time) || got.ActorClient != "web" {
		t.Errorf("decoded %+v, %v", got, err)
	}
}

// The encoder is written by hand, so this checks that no field is forgotten and
// no text spoilt.
func TestAnAuditRecordHoldsEveryField(t *testing.T) {
	texts := []string{"plain", "", `"\`, "<&>", "\x00\n\x1b\x7f", "é 李 \U0001f511", "\u2028"}
	for i := range reflect.TypeFor[AuditEvent]().NumField() {
		for _, text := range texts {
			e := AuditEvent{Time: time.Date(2026, 1, 2, 3, 4, 5, 678, time.UTC)}
			switch f := reflect.ValueOf(&e).Elem().Field(i); f.Kind() {
			case reflect.String:
				f.SetString(text)
			case reflect.Bool:
				f.SetBool(text != "")
			default: // Time is set already
				e.Address = netip.MustParseAddr("fe80::1%eth\"0")
			}
			records, _ := EncodeAudit([]AuditEvent{e})
			got, err := DecodeAudit(e.ID, records[0])
			if err != nil || got != e {
				t.Errorf("%+v became %+v by %s: %v", e, got, records[0], err)
			}
			var plain AuditEvent
			if err := json.Unmarshal(records[0], &plain); err != nil || plain.ID != "" {
				t.Errorf("%s: %v", records[0], err)
			}
		}
	}
}

func TestWhatIsNoAuditRecordIsNotQuoted(t *testing.T) {
	for _, record := range []string{"", "{", `{"time":"s3cret"}`, `"s3cret"`, `{"address":"s3cret"}`} {
		_, err := DecodeAudit("1", []byte(record))
		if !errors.Is(err, ErrUnavailable) || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%q: %v", record, err)
		}
	}
}
