package redisstore

import (
	"errors"
	"testing"

	"github.com/grantd/grantd/storage"
	"github.com/grantd/grantd/storage/redisstore/redistest"
)

// An append that failed may be tried again, and doesn't count as a repetition
// then.
func TestEventsThatFailedCanBeAppendedAgain(t *testing.T) {
	server := redistest.Single(t)
	s, _ := open(t, server.URL())
	events := []storage.AuditEvent{{RequestID: "1"}, {RequestID: "2"}}
	server.Client().Set(t.Context(), auditKey, "no stream", 0)
	for range 2 {
		if err := s.AppendAudit(t.Context(), events...); !errors.Is(err, storage.ErrUnavailable) {
			t.Fatalf("the trail is no stream: %v", err)
		}
	}
	server.Client().Del(t.Context(), auditKey)
	for range 2 {
		if err := s.AppendAudit(t.Context(), events...); err != nil {
			t.Fatal(err)
		}
	}
	if n := server.Client().XLen(t.Context(), auditKey).Val(); n != 2 {
		t.Errorf("%d events are kept, want 2", n)
	}
}

// The marks that recognise repeated appends expire by themselves.
func TestMarksOfTheTrailExpire(t *testing.T) {
	server := redistest.Single(t)
	s, _ := open(t, server.URL())
	if err := s.AppendAudit(t.Context(), storage.AuditEvent{RequestID: "1"}); err != nil {
		t.Fatal(err)
	}
	marks := server.Client().Keys(t.Context(), auditKey+"?*").Val()
	if len(marks) != 1 {
		t.Fatalf("marks %q", marks)
	}
	if left := server.Client().PTTL(t.Context(), marks[0]).Val(); left <= 0 || left > auditMark {
		t.Errorf("the mark expires in %v, want %v", left, auditMark)
	}
}
