package main

import (
	"fmt"
	"strings"
)

// print prints the tables and returns how many bars are missed.
func (b *bench) print() (missed int) {
	missed = b.printBars()
	b.printPeers()
	if b.inCase != nil {
		missed += b.printCases()
	}
	return missed
}

// bars are rows of "figure | init | beside | ratio | bar | met".
type bars struct{ missed int }

func (t *bars) row(figure, value, beside, ratio, bar string, met bool) {
	mark := "yes"
	if !met {
		mark = "**no**"
		t.missed++
	}
	fmt.Printf("| %s | %s | %s | %s | %s | %s |\n", figure, value, beside, ratio, bar, mark)
}

// against compares a quantile of ours with another's.
func (t *bars) against(f figures, title, figure, unit, other string, q, limit float64) {
	a, ok1 := f.quantile(figure, ours, q)
	o, ok2 := f.quantile(figure, other, q)
	if ok1 && ok2 {
		t.row(title, fmt.Sprintf("%.3g %s", a, unit), fmt.Sprintf("%s %.3g %s", other, o, unit), fmt.Sprintf("%.2f", a/o),
			fmt.Sprintf("%.3g times", limit), a/o <= limit)
	}
}

func (t *bars) atMost(title, unit string, value, limit float64) {
	with := func(v float64) string { return strings.TrimSpace(fmt.Sprintf("%.3g %s", v, unit)) }
	t.row(title, with(value), "", "", with(limit), value <= limit)
}

func (b *bench) printBars() int {
	t := &bars{}
	fmt.Println("| figure | `init` | beside | ratio | bar | met |\n| --- | --- | --- | --- | --- | --- |")
	t.against(b.figures, "start: execve of init to web's first instruction, median", startTime, "ms", bare, 0.5, 1.2)
	rss, _ := b.quantile(resident, ours, 0.5)
	t.atMost("resident, idle, two children", "MB", rss, 4.3)
	size, _ := b.quantile(fileSize, ours, 0.5)
	t.atMost("executable", "MB", size, 3.2)
	t.against(b.figures, "signal to web's handler, median", pokeTime, "µs", bare, 0.5, 1.3)
	t.against(b.figures, "signal to web's handler, p99", pokeTime, "µs", bare, 0.99, 1.3)
	storm := fmt.Sprintf("%d orphans end at once: none is left, median", b.orphans)
	t.against(b.figures, storm, stormTime, "ms", "tini", 0.5, 1.2)
	if fastest := b.fastestToStop(); fastest != "" {
		t.against(b.figures, "stop, both children obey at once, median", stopTime, "ms", fastest, 0.5, 1)
	}
	lag, _ := b.quantile(restartLag, ours, 0.5)
	late, _ := b.quantile(restartLag, ours, 0.95)
	t.row("restart of a bot that ended: after `next_start_at`, median (p95)", fmt.Sprintf("%.2f (%.2f) ms", lag, late),
		"", "", "2 ms", lag <= 2)
	if b.idle > 0 {
		n, _ := b.quantile(idleSwitch, ours, 0.5)
		t.atMost(fmt.Sprintf("context switches in %s idle", b.idle), "", n, 5)
		if b.wear != nil {
			t.atMost(fmt.Sprintf("the same after %d restarts of the bot", b.restarts), "", float64(b.wear.switches), 5)
		}
		n, _ = b.quantile(idleSwitch, standby, 0.5)
		t.atMost("the same in standby, a second", "", n/b.idle.Seconds(), 12)
	}
	if w := b.wear; w != nil {
		each := float64(w.took.Milliseconds()) / float64(b.restarts)
		wear := func(what, value, before, bar string, met bool) {
			title := fmt.Sprintf("%d starts and ends of the bot (%.0f ms each): %s", b.restarts, each, what)
			t.row(title, value, "after ten "+before, "", bar, met)
		}
		mb := func(kb int) string { return fmt.Sprintf("%.2f MB", float64(kb)/1024) }
		wear("descriptors", fmt.Sprint(w.fdsAfter), fmt.Sprint(w.fds), "as many", w.fdsAfter <= w.fds)
		wear("threads", fmt.Sprint(w.threadsAfter), fmt.Sprint(w.threads), "as many", w.threadsAfter <= w.threads)
		wear("resident", mb(w.rssEnd), mb(w.rss), "2 MB more", w.rssEnd <= w.rss+2048)
	}
	return t.missed
}

// fastestToStop is the fastest of those of several processes. runit does not wait for them.
func (b *bench) fastestToStop() (name string) {
	least := 0.0
	for _, c := range b.list {
		if c.name == ours || c.name == bare || c.name == "runit" {
			continue
		}
		if v, ok := b.quantile(stopTime, c.name, 0.5); ok && (name == "" || v < least) {
			name, least = c.name, v
		}
	}
	return name
}

func (b *bench) printPeers() {
	fmt.Printf("\n| | start, ms | resident, MB | proportional, MB | executables, MB | signal, µs (p99) "+
		"| %d orphans, ms | stop, ms | switches in %s |\n", b.orphans, b.idle)
	fmt.Println("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
	names := []string{floor}
	for _, c := range b.list {
		names = append(names, c.name)
	}
	for _, name := range append(names, standby) {
		cell := func(figure, format string) string {
			v, ok := b.quantile(figure, name, 0.5)
			if !ok {
				return ""
			}
			return fmt.Sprintf(format, v)
		}
		poke := cell(pokeTime, "%.0f")
		if p99, ok := b.quantile(pokeTime, name, 0.99); ok {
			poke += fmt.Sprintf(" (%.0f)", p99)
		}
		fmt.Println("| " + strings.Join([]string{
			name, cell(startTime, "%.2f"), cell(resident, "%.2f"), cell(fairShare, "%.2f"), cell(fileSize, "%.2f"), poke,
			cell(stormTime, "%.0f"), cell(stopTime, "%.2f"), cell(idleSwitch, "%.0f"),
		}, " | ") + " |")
	}
}

// printCases prints what each init does; bold is what a container with web and bot does not want.
func (b *bench) printCases() (missed int) {
	fmt.Print("\n| |")
	for _, c := range cases {
		fmt.Printf(" %s |", c.title)
	}
	fmt.Print("\n| --- |" + strings.Repeat(" --- |", len(cases)) + "\n")
	for i, c := range b.list {
		if c.name == barestS6 {
			continue // it does not even know that web is critical
		}
		fmt.Printf("| %s |", c.name)
		for n, cell := range b.inCase[i] {
			wanted := cell == cases[n].want || n == 4 && strings.HasPrefix(cell, cases[n].want+" ")
			if !wanted && c.name == ours {
				missed++
			}
			if !wanted {
				cell = "**" + cell + "**"
			}
			fmt.Printf(" %s |", cell)
		}
		fmt.Println()
	}
	return missed
}
