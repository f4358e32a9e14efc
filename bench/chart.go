package main

import (
	"bytes"
	"fmt"
	"html"
	"slices"
)

// The measures of the chart, in pixels.
const (
	chartWidth = 860
	barsLeft   = 190
	barsWidth  = 440
	barHeight  = 14
	rowHeight  = 20
	groupGap   = 34
)

// chartStyle has colours for light and for dark mode. The chart has its own
// background, so that it can be read on any page.
const chartStyle = `<style>
text { font: 12px system-ui, sans-serif; fill: #1f2328 }
.name { text-anchor: end }
.title { font-size: 14px; font-weight: 600 }
.note, .ratio { fill: #59636e }
.ground { fill: #ffffff; stroke: #d1d9e0 }
.spread { stroke: #1f2328 }
.bare { fill: #afb8c1 }
.stock { fill: #d4a72c }
.grantd { fill: #0969da }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.note, .ratio { fill: #9198a1 }
.ground { fill: #0d1117; stroke: #3d444d }
.spread { stroke: #f0f6fc }
.bare { fill: #656c76 }
.stock { fill: #bb8009 }
.grantd { fill: #4493f8 }
}
</style>
`

// chart draws the throughputs as bars, in one scale for each endpoint, with a line
// from the slowest round to the fastest.
func chart(out outcome) []byte {
	var body bytes.Buffer
	y := 58
	for _, endpoint := range endpoints(out.loads) {
		y += groupGap
		fmt.Fprintf(&body, `<text class="title" x="16" y="%d">%s</text>`+"\n", y-10, html.EscapeString(endpoint))
		y = out.bars(&body, endpoint, y)
	}
	height := y + 16
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %[1]d %[2]d" width="%[1]d" height="%[2]d" role="img" aria-labelledby="title">`+"\n",
		chartWidth, height)
	fmt.Fprintln(&b, `<title id="title">Requests a second of grantd, of bare handlers and of stock go-oauth2, by endpoint</title>`)
	b.WriteString(chartStyle)
	fmt.Fprintf(&b, `<rect class="ground" x="0.5" y="0.5" width="%d" height="%d" rx="6"/>`+"\n", chartWidth-1, height-1)
	fmt.Fprintln(&b, `<text class="title" x="16" y="28">Requests a second</text>`)
	fmt.Fprintln(&b, `<text class="note" x="16" y="46">Median of the rounds; the line goes from the slowest to the fastest; × is the ratio to the first bare handler with a store</text>`)
	b.Write(body.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// bars draws the bars of an endpoint from y on, and returns the y below them.
func (out outcome) bars(b *bytes.Buffer, endpoint string, y int) int {
	top := 0.0
	for _, l := range out.loads {
		if l.endpoint == endpoint {
			top = max(top, out.rates(l.cell).most)
		}
	}
	for _, l := range out.loads {
		if l.endpoint != endpoint {
			continue
		}
		r := out.rates(l.cell)
		pixels := func(rate float64) float64 { return rate / top * barsWidth }
		middle := y + barHeight/2
		fmt.Fprintf(b, `<text class="name" x="%d" y="%d">%s</text>`, barsLeft-8, y+11, html.EscapeString(l.server))
		fmt.Fprintf(b, `<rect class="%s" x="%d" y="%d" width="%.1f" height="%d" rx="2"/>`, kind(l), barsLeft, y, pixels(r.middle), barHeight)
		fmt.Fprintf(b, `<line class="spread" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`, barsLeft+pixels(r.least), middle, barsLeft+pixels(r.most), middle)
		fmt.Fprintf(b, `<text x="%d" y="%d">%.0f</text>`, barsLeft+barsWidth+12, y+11, r.middle)
		if s, ok := out.against(l.cell, bareOf[endpoint]); ok && l.server != bareOf[endpoint] {
			fmt.Fprintf(b, `<text class="ratio" x="%d" y="%d">× %.2f</text>`, barsLeft+barsWidth+72, y+11, s.middle)
		}
		b.WriteString("\n")
		y += rowHeight
	}
	return y
}

func (out outcome) rates(c cell) span {
	var rates []float64
	for _, s := range out.results[c] {
		rates = append(rates, s.rate)
	}
	return spanOf(rates)
}

// kind returns the CSS class of the load's bar.
func kind(l load) string {
	switch {
	case l.server == stockOwn:
		return "stock"
	case l.on.name == "bare":
		return "bare"
	}
	return "grantd"
}

func endpoints(loads []load) []string {
	var all []string
	for _, l := range loads {
		if !slices.Contains(all, l.endpoint) {
			all = append(all, l.endpoint)
		}
	}
	return all
}
