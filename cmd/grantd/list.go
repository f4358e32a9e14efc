package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"strconv"

	"github.com/spf13/cobra"
)

// listing is a list of the API, and the columns that people see of it.
type listing[T any] struct {
	path    string // below /admin/v1
	query   url.Values
	member  string // the member of a page that holds the records
	limit   int    // how many to show; 0: all
	heading []any
	row     func(T) []any
}

// largestPage is how many records a page of the API may have.
const largestPage = 1000

// show prints the list page by page. As a list may be long, each page is aligned by
// itself. JSON is one array of all pages.
func (l listing[T]) show(a *api, cmd *cobra.Command) error {
	w := cmd.OutOrStdout()
	if asJSON(cmd) {
		list := &jsonList{w: w}
		err := l.each(cmd.Context(), a, func(page []json.RawMessage) error { return list.add(page) })
		if err != nil {
			return err
		}
		return list.end()
	}
	heading := [][]any{l.heading}
	err := l.each(cmd.Context(), a, func(page []json.RawMessage) error {
		rows := heading
		for _, document := range page {
			var record T
			if err := json.Unmarshal(document, &record); err != nil {
				return failedf("the server's list has a record that this command doesn't understand").withHint(hintVersion)
			}
			rows = append(rows, l.row(record))
		}
		heading = nil
		return writeTable(w, rows)
	})
	return err
}

// each calls f with the pages, in order, at least once.
func (l listing[T]) each(ctx context.Context, a *api, f func([]json.RawMessage) error) error {
	left := l.limit
	cursor := ""
	for {
		query := maps.Clone(l.query)
		if query == nil {
			query = url.Values{}
		}
		size := largestPage
		if l.limit > 0 {
			size = min(left, largestPage)
		}
		query.Set("limit", strconv.Itoa(size))
		if cursor != "" {
			query.Set("cursor", cursor)
		}
		var answer map[string]json.RawMessage
		if err := a.get(ctx, l.path, query, &answer); err != nil {
			return err
		}
		var page []json.RawMessage
		var next string
		if err := json.Unmarshal(answer[l.member], &page); err != nil {
			return failedf("the server's answer has no member %q", l.member).withHint(hintVersion)
		}
		if answer["next"] != nil {
			if err := json.Unmarshal(answer["next"], &next); err != nil {
				return failedf("the server's list has a cursor that this command doesn't understand").withHint(hintVersion)
			}
		}
		if err := f(page); err != nil {
			return err
		}
		left -= len(page)
		if next == "" || l.limit > 0 && left <= 0 {
			return nil
		}
		cursor = next
	}
}

// jsonList writes an array whose elements come in pages.
type jsonList struct {
	w     io.Writer
	count int
}

func (j *jsonList) add(page []json.RawMessage) error {
	var b bytes.Buffer
	for _, document := range page {
		b.WriteString([]string{"[\n  ", ",\n  "}[min(j.count, 1)])
		if err := json.Indent(&b, document, "  ", "  "); err != nil {
			return err
		}
		j.count++
	}
	_, err := j.w.Write(harmless(b.Bytes()))
	return err
}

func (j *jsonList) end() error {
	text := "\n]\n"
	if j.count == 0 {
		text = "[]\n"
	}
	_, err := io.WriteString(j.w, text)
	return err
}

// showOne prints a record: the document with --json, else its fields, one per line.
func showOne(cmd *cobra.Command, document json.RawMessage, fields [][]any) error {
	if asJSON(cmd) {
		return writeIndented(cmd.OutOrStdout(), document)
	}
	return writeTable(cmd.OutOrStdout(), fields)
}

// say prints a line that tells what was done, or with --json the document: the answer
// of the API, or if there is none, the name of what was changed.
func say(cmd *cobra.Command, document any, format string, args ...any) error {
	if asJSON(cmd) {
		return writeIndented(cmd.OutOrStdout(), document)
	}
	_, err := fmt.Fprintf(cmd.OutOrStdout(), format+"\n", args...)
	return err
}

// understand decodes a record of an answer.
func understand(document json.RawMessage, record any) error {
	if err := json.Unmarshal(document, record); err != nil {
		return failedf("this command doesn't understand the server's answer").withHint(hintVersion)
	}
	return nil
}

func addLimitFlag(c *cobra.Command, limit *int) {
	c.Flags().IntVar(limit, "limit", 0, "list at most this many (default: all)")
}

func addYesFlag(c *cobra.Command) *cobra.Command {
	c.Flags().Bool("yes", false, "don't ask for confirmation; needed without a terminal")
	return c
}
