package main

import (
	"io"
	"log/slog"
)

// newLogger returns the logger for the configuration. An unknown level, which checkLog
// refuses, counts as info.
func newLogger(w io.Writer, c logConfig) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.Level)); err != nil {
		level = slog.LevelInfo
	}
	options := &slog.HandlerOptions{Level: level}
	if c.Format == "text" {
		return slog.New(&lineHandler{Handler: slog.NewTextHandler(w, options), w: w})
	}
	return slog.New(&lineHandler{Handler: slog.NewJSONHandler(w, options), w: w, json: true})
}
