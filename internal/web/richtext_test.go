package web

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"tandem/internal/inbox"
)

func TestRichText(t *testing.T) {
	const out = ` target="_blank" rel="noopener noreferrer"`
	for _, c := range []struct{ text, entities, want string }{
		{"do NOT ship it", `[{"type":"strikethrough","offset":3,"length":3}]`, "do <s>NOT</s> ship it"},
		{"a <b> & \"c\"", `[]`, "a &lt;b&gt; &amp; &#34;c&#34;"},
		{"😀 bold 😀", `[{"type":"bold","offset":3,"length":4}]`, "😀 <b>bold</b> 😀"},
		{"😀x", `[{"type":"bold","offset":1,"length":1}]`, "<b>😀</b>x"},
		{"😀x", `[{"type":"bold","offset":0,"length":1},{"type":"italic","offset":1,"length":2}]`, "<b><i>😀</i></b><i>x</i>"},
		{"abcd", `[{"type":"bold","offset":0,"length":3},{"type":"italic","offset":1,"length":3}]`,
			"<b>a</b><b><i>bc</i></b><i>d</i>"},
		{"abc", `[{"type":"bold","offset":0,"length":3},{"type":"bold","offset":1,"length":1}]`, "<b>a</b><b>b</b><b>c</b>"},
		{"abc", `[{"type":"bold","offset":-1,"length":3},{"type":"bold","offset":1,"length":9},{"type":"new","offset":` +
			`0,"length":1}]`,
			"abc"},
		{"hush", `[{"type":"spoiler","offset":0,"length":4}]`, `<span class="spoiler" tabindex="0">hush</span>`},
		{"say\nto be\nor", `[{"type":"blockquote","offset":4,"length":5},{"type":"underline","offset":4,"length":2}]`,
			"say\n<blockquote><u>to</u> be\n</blockquote>or"},
		{"x := 1", `[{"type":"pre","offset":0,"length":6,"language":"go"}]`, `<pre>x := 1</pre>`},
		{"run `rm`", `[{"type":"code","offset":5,"length":2}]`, "run `<code>rm</code>`"},
		{"see https://e.example/a", `[]`, `see <a href="https://e.example/a"` + out + `>https://e.example/a</a>`},
		{"(see https://e.example/a_(b)), or HTTP://E.example.", `[]`, `(see <a href="https://e.example/a_(b)"` + out +
			`>https://e.example/a_(b)</a>), or <a href="HTTP://E.example"` + out + `>HTTP://E.example</a>.`},
		{"https://e.example/?a=1&b=<c", `[]`, `<a href="https://e.example/?a=1&amp;b="` + out +
			`>https://e.example/?a=1&amp;b=</a>&lt;c`},
		{"mailto:a@b.example tel:+49-30-123", `[]`, `<a href="mailto:a@b.example"` + out +
			`>mailto:a@b.example</a> <a href="tel:+4930123"` + out + `>tel:+49-30-123</a>`},
		{"javascript:alert(1) data:text/html,x xhttps://a.org ftp://a.org vbscript:x", `[]`,
			"javascript:alert(1) data:text/html,x xhttps://a.org ftp://a.org vbscript:x"},
		{"https:// http://, tel: x", `[]`, "https:// http://, tel: x"},
		{"https://a.org", `[{"type":"code","offset":0,"length":13}]`, "<code>https://a.org</code>"},
		{"see https://a.org/b now", `[{"type":"bold","offset":4,"length":9}]`, `see <a href="https://a.org/b"` + out +
			`><b>https://a</b>.org/b</a> now`},
		{"e.example/a", `[{"type":"url","offset":0,"length":11}]`, `<a href="http://e.example/a"` + out + `>e.example/a</a>`},
		{"a@b.example", `[{"type":"email","offset":0,"length":11}]`, `<a href="mailto:` +
			`a@b.example"` + out + `>a@b.example</a>`},
		{"+49 (30) 1", `[{"type":"phone_number","offset":0,"length":10}]`, `<a href="tel:+49301"` + out + `>+49 (30) 1</a>`},
		{"here", `[{"type":"text_link","offset":0,"length":4,"url":"https://evil.example/x?y"}]`,
			`<a href="https://evil.example/x?y"` + out + ` data-behind="evil.example">here</a>`},
		{"https://bank.example", `[{"type":"text_link","offset":0,"length":20,"url":"https://evil.example"}]`,
			`<a href="https://evil.example"` + out + ` data-behind="evil.example">https://bank.example</a>`},
		{"here", `[{"type":"text_link","offset":0,"length":4,"url":"javascript:alert(1)"}]`,
			`<span class="mention" data-behind="javascript:alert(1)">here</span>`},
		{"here", `[{"type":"text_link","offset":0,"length":4,"url":"tg://user?id=\"><script>"}]`,
			`<span class="mention" data-behind="tg://user?id=&#34;&gt;&lt;script&gt;">here</span>`},
		{"Masha", `[{"type":"text_mention","offset":0,"length":5,"user":{"id":9,"first_name":"Mary \"K\""}}]`,
			`<span class="mention" data-behind="Mary &#34;K&#34;">Masha</span>`},
		{"abc", `[{"type":"text_link","offset":0,"length":2,"url":"https://a.org"},` +
			`{"type":"text_link","offset":1,"length":2,"url":"https://b.org"}]`,
			`<a href="https://a.org"` + out + ` data-behind="a.org">ab</a>c`},
		{"ab\ncd", `[{"type":"text_link","offset":0,"length":5,"url":"https://a.org"},{"type":"blockquote","offset":3,` +
			`"length":2}]`,
			`<a href="https://a.org"` + out + " data-behind=\"a.org\">ab\n</a><blockquote>cd</blockquote>"},
	} {
		var entities []inbox.Entity
		if err := json.Unmarshal([]byte(c.entities), &entities); err != nil {
			t.Fatal(err)
		}
		if have := string(richText(c.text, entities)); have != c.want {
			t.Errorf("%s %s:\n%s\nwant\n%s", c.text, c.entities, have, c.want)
		}
		checkRich(t, c.text, entities)
	}
	line := richLine("do NOT see https://a.org", []inbox.Entity{{Type: "strikethrough", Offset: 3, Length: 3},
		{Type: "blockquote", Length: 5}, {Type: "text_link", Length: 5, URL: "https://a.org"}})
	if line != "do <s>NOT</s> see https://a.org" {
		t.Errorf("in a line: %s", line)
	}
}

// checkRich sees that HTML has the text and nothing else of it, no element or attribute that is not ours, and no link
// to anything that may not be opened.
func checkRich(t *testing.T, text string, entities []inbox.Entity) {
	t.Helper()
	for _, have := range []string{string(richText(text, entities)), string(richLine(text, entities))} {
		var words strings.Builder
		open := []string{}
		tokens := html.NewTokenizer(strings.NewReader(have))
		for kind := tokens.Next(); kind != html.ErrorToken; kind = tokens.Next() {
			token := tokens.Token()
			switch kind {
			case html.TextToken:
				words.WriteString(token.Data)
			case html.StartTagToken:
				open = append(open, token.Data)
				for _, a := range token.Attr {
					checkAttribute(t, token.Data, a)
				}
			case html.EndTagToken:
				if len(open) == 0 || open[len(open)-1] != token.Data {
					t.Fatalf("%q is not nested", have)
				}
				open = open[:len(open)-1]
			default:
				t.Errorf("%v in %q", kind, have)
			}
			const ours = " span b i u s mark sub sup code a blockquote pre "
			if len(open) > 0 && !strings.Contains(ours, " "+open[len(open)-1]+" ") {
				t.Fatalf("<%s> in %q", open[len(open)-1], have)
			}
		}
		want := strings.ToValidUTF8(text, "\uFFFD")
		if got := words.String(); strings.ReplaceAll(got, "\r", "\n") != strings.ReplaceAll(want, "\r", "\n") &&
			!strings.Contains(want, "\x00") && len(open) == 0 {
			t.Errorf("%q is shown as %q", text, got)
		}
	}
}

func checkAttribute(t *testing.T, tag string, a html.Attribute) {
	t.Helper()
	switch a.Key {
	case "href":
		u, err := url.Parse(a.Val)
		if err != nil || tag != "a" || !strings.Contains(" http https mailto tel ", " "+strings.ToLower(u.Scheme)+" ") {
			t.Errorf("a link to %q: %v", a.Val, err)
		}
	case "rel":
		if a.Val != "noopener noreferrer" {
			t.Errorf("rel %q", a.Val)
		}
	case "target", "class", "tabindex", "data-behind":
	default:
		t.Errorf("attribute %q", a.Key)
	}
}

func FuzzRichText(f *testing.F) {
	for _, text := range []string{"a https://b.example/c(d) 😀", "<script>alert(1)</script>",
		"mailto:a@b tel:123", "a\nb\n"} {
		f.Add(text, `[{"type":"bold","offset":0,"length":3},{"type":"text_link","offset":1,"length":4,"url":"javascript:x"}]`)
		f.Add(text, `[{"type":"blockquote","offset":0,"length":2},{"type":"pre","offset":1,"length":9},{"type":"url",`+
			`"offset":0,"length":5}]`)
	}
	f.Fuzz(func(t *testing.T, text, list string) {
		var entities []inbox.Entity
		if json.Unmarshal([]byte(list), &entities) != nil || len(entities) > 500 {
			return
		}
		checkRich(t, inbox.CleanText(text), entities)
	})
}

// What entities cover costs nothing: each makes two places, and the text is written once.
func TestRichTextOfHostileEntities(t *testing.T) {
	text := strings.Repeat("https://a.org/😀 ", 2_000)
	for name, entity := range map[string]func(i int) inbox.Entity{
		"over everything": func(int) inbox.Entity { return inbox.Entity{Type: "bold", Length: 30_000} },
		"one in the other": func(i int) inbox.Entity {
			return inbox.Entity{Type: formats[i%len(formats)].types[0], Offset: i, Length: 30_000 - 2*i}
		},
		"one after the other": func(i int) inbox.Entity {
			return inbox.Entity{Type: "text_link", Offset: i, Length: 2, URL: "https://a.org"}
		},
		"blocks": func(i int) inbox.Entity { return inbox.Entity{Type: "blockquote", Offset: i, Length: 3} },
	} {
		t.Run(name, func(t *testing.T) {
			var entities []inbox.Entity
			for i := range 500 {
				entities = append(entities, entity(i))
			}
			checkRich(t, text, entities)
			size := len(richText(text, entities))
			var sized inbox.Message
			sized.Text, sized.Entities = text, entities
			if most := inHTML*sizeOfMessage(&sized) + maxLinks*120; size > most {
				t.Errorf("%d bytes, counted as %d", size, most)
			}
		})
	}
}

func BenchmarkRichText(b *testing.B) {
	for _, n := range []int{500, 5_000} {
		text := strings.Repeat("ab https://a.org/ ", n)
		var entities []inbox.Entity
		for i := range n {
			entities = append(entities, inbox.Entity{Type: "bold", Offset: 18 * i, Length: 18})
		}
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			for b.Loop() {
				richText(text, entities)
			}
		})
	}
}
