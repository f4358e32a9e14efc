package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"
	"unicode/utf8"
)

// The length at which texts of a server are cut when they are shown, in bytes.
const (
	longestCell = 1 << 10
	longestText = 4 << 10
)

// writeIndented writes a JSON document.
func writeIndented(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return err
	}
	_, err := w.Write(harmless(b.Bytes()))
	return err
}

// writeLine writes a JSON document on one line.
func writeLine(w io.Writer, document json.RawMessage) error {
	var b bytes.Buffer
	if err := json.Compact(&b, document); err != nil {
		return err
	}
	_, err := w.Write(append(harmless(b.Bytes()), '\n'))
	return err
}

// harmless escapes characters that could control a terminal or deceive the reader. In
// JSON they only occur within strings, where the escape means the same.
func harmless(document []byte) []byte {
	visible := func(r rune) bool { return r == '\n' || unicode.IsPrint(r) && r != utf8.RuneError }
	if bytes.IndexFunc(document, func(r rune) bool { return !visible(r) }) < 0 {
		return document
	}
	var b bytes.Buffer
	for _, r := range string(document) {
		switch {
		case visible(r):
			b.WriteRune(r)
		case r > 0xffff:
			const high, low = 0xd800, 0xdc00
			fmt.Fprintf(&b, `\u%04x\u%04x`, high+(r-0x10000)>>10, low+(r-0x10000)&0x3ff)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.Bytes()
}

// writeTable writes aligned columns. It replaces invisible characters of a cell by
// question marks.
func writeTable(w io.Writer, rows [][]any) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if i > 0 {
				fmt.Fprint(tw, "\t")
			}
			fmt.Fprint(tw, cellText(cell))
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}

// cellText returns the value as people read it. An empty one is a dash.
func cellText(cell any) string {
	text := ""
	switch c := cell.(type) {
	case bool:
		return yesNo(c)
	case time.Time:
		if !c.IsZero() {
			text = c.UTC().Format(time.RFC3339)
		}
	case []string:
		text = strings.Join(c, " ")
	default:
		text = fmt.Sprint(cell)
	}
	if text == "" {
		return "-"
	}
	return printable(text, longestCell)
}

// counted returns texts such as "1 grant" and "2 grants".
func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return strconv.Itoa(n) + " " + noun
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
