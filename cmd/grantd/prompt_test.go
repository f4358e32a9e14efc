package main

import (
	"context"
	"io"
	"strings"
	"testing"
	"time"
)

func TestAnInterruptEndsAQuestion(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	r, w := io.Pipe() // nobody ever answers
	defer w.Close()
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := readAnswer(ctx, r); err == nil || err.Error() != "interrupted" {
		t.Errorf("got %v", err)
	}
}

func TestTheAnswerIsALine(t *testing.T) {
	for input, want := range map[string]string{"yes\n": "yes", " Y \nn\n": "Y", "\n": "", "": "", "y": "y"} {
		if got, err := readAnswer(t.Context(), strings.NewReader(input)); got != want || err != nil {
			t.Errorf("%q: %q, %v", input, got, err)
		}
	}
}
