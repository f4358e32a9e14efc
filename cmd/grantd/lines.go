package main

import (
	"context"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"
)

// lineHandler writes the same lines as the slog handler that it holds, in a fraction
// of the time: every request makes a line, and one that issues tokens makes two. It
// leaves a record to that handler if it isn't plain, for example if a text has to be
// escaped. It is safe for concurrent use if w is.
type lineHandler struct {
	slog.Handler // a TextHandler or a JSONHandler that writes to w
	w            io.Writer
	json         bool
}

var lineBuffers = sync.Pool{New: func() any { return new(logLine) }}

// Handle implements slog.Handler.
func (h *lineHandler) Handle(ctx context.Context, r slog.Record) error {
	l := lineBuffers.Get().(*logLine)
	defer lineBuffers.Put(l)
	l.begin(h.json, r.Time, r.Level, r.Message)
	r.Attrs(l.attr)
	if l.end(); !l.plain {
		return h.Handler.Handle(ctx, r)
	}
	_, err := h.w.Write(l.b)
	return err
}

// line is Handle for these attributes, without the cost of a record.
func (h *lineHandler) line(ctx context.Context, at time.Time, level slog.Level, message string, attrs []slog.Attr) error {
	l := lineBuffers.Get().(*logLine)
	defer lineBuffers.Put(l)
	l.begin(h.json, at, level, message)
	for _, a := range attrs {
		l.attr(a)
	}
	if l.end(); !l.plain {
		return h.Handler.Handle(ctx, newRecord(at, level, message, attrs))
	}
	_, err := h.w.Write(l.b)
	return err
}

// logAttrs passes a line straight to the handler. The logger would first look up the
// caller, which is always the same.
func logAttrs(ctx context.Context, h slog.Handler, at time.Time, level slog.Level, message string, attrs []slog.Attr) {
	if lines, ok := h.(*lineHandler); ok {
		_ = lines.line(ctx, at, level, message, attrs) // an error means that standard error is gone
		return
	}
	_ = h.Handle(ctx, newRecord(at, level, message, attrs)) // as above
}

func newRecord(at time.Time, level slog.Level, message string, attrs []slog.Attr) slog.Record {
	r := slog.NewRecord(at, level, message, 0)
	r.AddAttrs(attrs...)
	return r
}

// logLine is a line of the log that is being made.
type logLine struct {
	b     []byte
	json  bool
	plain bool // so far
}

func (l *logLine) begin(json bool, at time.Time, level slog.Level, message string) {
	*l = logLine{b: l.b[:0], json: json, plain: !at.IsZero()}
	if json {
		l.b = append(l.b, `{"time":"`...)
		l.b = append(at.AppendFormat(l.b, time.RFC3339Nano), '"')
	} else {
		l.b = appendMillis(append(l.b, "time="...), at)
	}
	l.text(slog.LevelKey, level.String())
	l.text(slog.MessageKey, message)
}

// attr adds an attribute, and reports whether the line is still plain.
func (l *logLine) attr(a slog.Attr) bool {
	switch a.Value.Kind() {
	case slog.KindString:
		l.text(a.Key, a.Value.String())
	case slog.KindInt64:
		l.key(a.Key)
		l.b = strconv.AppendInt(l.b, a.Value.Int64(), 10)
	case slog.KindFloat64:
		l.float(a.Key, a.Value.Float64())
	case slog.KindBool:
		l.key(a.Key)
		l.b = strconv.AppendBool(l.b, a.Value.Bool())
	default:
		l.plain = false
	}
	return l.plain
}

func (l *logLine) end() {
	if l.json {
		l.b = append(l.b, '}')
	}
	l.b = append(l.b, '\n')
}

func (l *logLine) key(key string) {
	l.plain = l.plain && look(key) == bare
	if l.json {
		l.b = append(l.b, `,"`...)
		l.b = append(l.b, key...)
		l.b = append(l.b, `":`...)
		return
	}
	l.b = append(l.b, ' ')
	l.b = append(l.b, key...)
	l.b = append(l.b, '=')
}

func (l *logLine) text(key, s string) {
	l.key(key)
	is := look(s)
	l.plain = l.plain && is != escaped
	if l.json || is == quoted {
		l.b = append(l.b, '"')
		l.b = append(l.b, s...)
		l.b = append(l.b, '"')
		return
	}
	l.b = append(l.b, s...)
}

// float adds a number. A number that some format writes with an exponent isn't plain.
func (l *logLine) float(key string, f float64) {
	l.key(key)
	l.plain = l.plain && (f == 0 && !(1/f < 0) || f >= 1e-4 && f < 1e6)
	l.b = strconv.AppendFloat(l.b, f, 'f', -1, 64)
}

// What a text looks like in a line.
const (
	bare    = iota // as it is
	quoted         // in quotes, in the text format
	escaped        // in quotes, and partly escaped
)

var looks = func() (looks [256]byte) {
	for c := range looks {
		if c <= ' ' || c > '~' || c == '"' || c == '\\' {
			looks[c] = escaped
		}
	}
	looks[' '], looks['='] = quoted, quoted
	return looks
}()

func look(s string) byte {
	worst := byte(bare)
	if s == "" {
		worst = quoted
	}
	for i := range len(s) {
		worst = max(worst, looks[s[i]])
	}
	return worst
}

// appendMillis appends t in RFC 3339 format, always with three digits of milliseconds.
func appendMillis(b []byte, t time.Time) []byte {
	end := len(b) + len(time.DateTime)
	b = t.AppendFormat(b, time.RFC3339)
	ms := t.Nanosecond() / int(time.Millisecond)
	return slices.Insert(b, end, '.', byte('0'+ms/100), byte('0'+ms/10%10), byte('0'+ms%10))
}
