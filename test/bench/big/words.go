package main

import (
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sort"
	"strings"
)

// script is a way of writing: what words are made of, and what is between them.
type script struct {
	syllables []string
	between   string
	share     int // of a hundred messages
}

var scripts = []script{
	{strings.Fields("an ber cha den el fra gor hin ing ka lo mer nas or pel qui ra ston tis ul ver wa yon ze tra ment ro"),
		" ", 55},
	{strings.Fields("ва го до же за ин ка ла мо не ни по ра ре ро ско ста та то ту ть ход це че ши ще ый на"), " ", 30},
	{strings.Fields("的 一 是 不 了 人 我 在 有 他 这 中 大 来 上 国 个 到 说 们 为 子 和 你 地 出 道 也 时 年 得 就 那 要 下 以 生 会 自 着 去 之 过 家 " +
		"学 对 可 她 里 后 小 么 心 多 天 而 能 好 都 然 没 日 于 起 还 发 成 事 只 作 当 想 看 文 无 开 手 十 用 主 行 方 又 如 前 所 本 见 经 头 面"),
		"", 15},
}

const distinct = 60_000 // words, of all scripts together

// vocabulary has words in the order of how often they are used: the n-th as often as 1/n of the first, as in languages.
type vocabulary struct {
	words [][]string  // by script
	sums  [][]float64 // of their shares
}

func newVocabulary() *vocabulary {
	v := &vocabulary{}
	r := rand.New(rand.NewPCG(1, 2))
	for _, s := range scripts {
		n := distinct * s.share / 100
		seen := map[string]bool{}
		var words []string
		for len(words) < n {
			w := ""
			for range 1 + r.IntN(2+len(words)*3/n) + min(len(words)/20, 1) {
				w += s.syllables[r.IntN(len(s.syllables))]
			}
			if len([]rune(w)) > 1 && !seen[w] {
				seen[w] = true
				words = append(words, w)
			}
		}
		sums := make([]float64, n)
		sum := 0.0
		for i := range sums {
			sum += 1 / math.Pow(float64(i+3), 1.05)
			sums[i] = sum
		}
		v.words, v.sums = append(v.words, words), append(v.sums, sums)
	}
	return v
}

// text is a message of some words.
func (v *vocabulary) text(r *rand.Rand) string {
	n, which := r.IntN(100), 0
	for n >= scripts[which].share {
		n -= scripts[which].share
		which++
	}
	var b strings.Builder
	for i := range 3 + r.IntN(14) {
		if i > 0 {
			b.WriteString(scripts[which].between)
		}
		sums := v.sums[which]
		b.WriteString(v.words[which][sort.SearchFloat64s(sums, r.Float64()*sums[len(sums)-1])])
	}
	return b.String()
}

// messageOf is the n-th message of some, the same whenever it is asked for.
func (v *vocabulary) messageOf(n, of int) string {
	r := rand.New(rand.NewPCG(uint64(n), 7))
	text := v.text(r)
	switch {
	case n < of/20 && n%4 == 0: // long ago it was in every fourth
		text += fmt.Sprintf(" olden%02d", n/4%40)
	case n%1000 == 17: // once in the whole, and so for many
		text += fmt.Sprintf(" singular%d", n)
	}
	// Two words that meet once: each of a pair is in every thousandth message without the other.
	if n%50 == 3 {
		text += fmt.Sprintf(" left%02d", n/50%20)
	}
	if n%50 == 28 {
		text += fmt.Sprintf(" right%02d", n/50%20)
	}
	if n >= of/2 && n < of/2+20 {
		text += fmt.Sprintf(" left%02d right%02d", n-of/2, (n-of/2+7)%20)
	}
	if n%20 == 5 && n/20%(max(of/200, 1)) == 0 {
		text += fmt.Sprintf(" only%d", chatOf(n, of))
	}
	return text
}

// chatOf is who writes the n-th message: a conversation has about twenty.
func chatOf(n, of int) int64 { return 1000 + int64(n*7919)%int64(max(of/20, 1)) }

var given = strings.Fields("Ada Boris Chen Dina Emil Farah Grace Hugo Irina Jonas Keiko Lena Mateo Nadia Omar Petra")

// nameOf is the name of a customer.
func (v *vocabulary) nameOf(chat int64) string {
	words := v.words[int(chat)%2]
	w := []rune(words[int(chat*31)%len(words)])
	return given[int(chat)%len(given)] + " " + strings.ToUpper(string(w[:1])) + string(w[1:])
}

// never are strings of trigrams that are all frequent, which no word has.
func (v *vocabulary) never(n int) []string {
	frequent := v.words[0][:2000]
	all := "\n" + strings.Join(v.words[0], "\n") + "\n"
	follow := map[string][]string{}
	for _, w := range frequent {
		for i := 0; i+3 < len(w); i++ {
			follow[w[i:i+3]] = append(follow[w[i:i+3]], w[i+1:i+4])
		}
	}
	var starts []string
	for three := range follow {
		starts = append(starts, three)
	}
	slices.Sort(starts)
	r := rand.New(rand.NewPCG(3, 4))
	var list []string
	for len(list) < n {
		three := starts[r.IntN(len(starts))]
		s := three
		for len(s) < 9 && len(follow[three]) > 0 {
			three = follow[three][r.IntN(len(follow[three]))]
			s += three[2:]
		}
		if len(s) == 9 && !strings.Contains(all, s) && !slices.Contains(list, s) {
			list = append(list, s)
		}
	}
	return list
}

// search is a kind of question. Each question is asked once: what web remembers of one helps no other.
type search struct {
	name      string
	hits      bool
	questions []string
}

// searches is the published list of searches (docs/benchmarks.md).
func (v *vocabulary) searches(of int) []search {
	kinds := []search{{name: "a common word", hits: true}, {name: "a rare word", hits: true},
		{name: "two words that meet once", hits: true}, {name: "a word used only long ago", hits: true},
		{name: "common trigrams, never in one word"}, {name: "two letters", hits: true}, {name: "a name", hits: true},
		{name: "a word of one conversation", hits: true}}
	add := func(kind int, question string) { kinds[kind].questions = append(kinds[kind].questions, question) }
	for i := range 40 {
		add(0, v.words[i%2][20+i])
		if n := 17 + i*1000; n < of {
			add(1, fmt.Sprintf("singular%d", n))
		}
		if i < 20 && of >= 1000 {
			add(2, fmt.Sprintf("left%02d right%02d", i, (i+7)%20))
		}
		if 4*i < of/20 {
			add(3, fmt.Sprintf("olden%02d", i))
		}
		add(5, string([]rune(v.words[i%2][100+i*3])[:2]))
		add(6, strings.ToLower(v.nameOf(1000+int64(i*37)%int64(max(of/20, 1)))))
		if n := (i*max(of/200, 1))*20 + 5; n < of {
			add(7, fmt.Sprintf("only%d", chatOf(n, of)))
		}
	}
	for _, s := range v.never(40) {
		add(4, s)
	}
	for i := range kinds {
		slices.Sort(kinds[i].questions)
		kinds[i].questions = slices.Compact(kinds[i].questions)
	}
	return kinds
}
