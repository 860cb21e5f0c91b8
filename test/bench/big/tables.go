package main

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"time"
)

// table is one database at each size.
type table struct {
	database string
	columns  []column
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }

// print writes it in Markdown: p50 and p99 of each, and the ratio of the last p50 to the first.
func (t table) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s, p50 / p99 in ms\n\n| |", t.database)
	for _, c := range t.columns {
		fmt.Fprintf(w, " %d messages |", c.messages)
	}
	fmt.Fprint(w, " ratio |\n| --- |")
	for range t.columns {
		fmt.Fprint(w, " --- |")
	}
	fmt.Fprintln(w, " --- |")
	for i, first := range t.columns[0].costs {
		fmt.Fprintf(w, "| %s |", first.what)
		last := first
		for _, c := range t.columns {
			last = c.costs[i]
			if last.asked == 0 {
				fmt.Fprint(w, " |")
				continue
			}
			fmt.Fprintf(w, " %s / %s |", ms(last.p50), ms(last.p99))
		}
		if first.asked == 0 || last.asked == 0 {
			fmt.Fprintln(w, " |")
			continue
		}
		fmt.Fprintf(w, " %.1f |\n", float64(last.p50)/float64(first.p50))
	}
}

// plot draws the p99 of each cost against the number of messages, both in powers of ten.
func plot(tables []table) []byte {
	const width, height, left, top = 460, 300, 60, 40
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" `+
		`font-family="sans-serif" font-size="11">`+
		"\n", len(tables)*(width+260), height+2*top)
	colours := []string{"#1b6ca8", "#d1495b", "#66a182", "#edae49", "#8d5a97", "#2e4057", "#00798c", "#a23b72", "#f26419",
		"#555", "#7aa95c"}
	y := func(d time.Duration) float64 { // from 0.1 ms to 1 s
		return top + height*(1-(math.Log10(max(float64(d.Microseconds())/1000, 0.1))+1)/4)
	}
	for n, t := range tables {
		at := n * (width + 260)
		x := func(messages int) float64 {
			return float64(at+left) + (math.Log10(float64(messages))-2)/4.3*(width-left)
		}
		fmt.Fprintf(&b, `<text x="%d" y="20" font-size="14">%s: p99 against messages</text>`+"\n", at+left, t.database)
		for p := -1; p <= 3; p++ {
			d := time.Duration(math.Pow10(p) * float64(time.Millisecond))
			fmt.Fprintf(&b, `<path d="M%d %.1fH%d" stroke="#ccc"/><text x="%d" y="%.1f">%v</text>`+"\n",
				at+left, y(d), at+width, at+4, y(d)+4, d)
		}
		for i, first := range t.columns[0].costs {
			colour := colours[i%len(colours)]
			path := "M"
			for _, c := range t.columns {
				if c.costs[i].asked == 0 {
					continue
				}
				path += fmt.Sprintf("%.1f %.1f ", x(c.messages), y(c.costs[i].p99))
				fmt.Fprintf(&b, `<circle cx="%.1f" cy="%.1f" r="3" fill="%s"/>`+"\n", x(c.messages), y(c.costs[i].p99), colour)
			}
			fmt.Fprintf(&b, `<path d="%s" fill="none" stroke="%s"/>`+"\n", path, colour)
			fmt.Fprintf(&b, `<text x="%d" y="%d" fill="%s">%s</text>`+"\n", at+width+10, top+14+i*16, colour, first.what)
		}
		for _, c := range t.columns {
			fmt.Fprintf(&b, `<text x="%.1f" y="%d" text-anchor="middle">%d</text>`+"\n",
				x(c.messages), height+top+16, c.messages)
		}
	}
	b.WriteString("</svg>\n")
	return b.Bytes()
}
