package test

import (
	"fmt"
	"strings"
	"testing"

	"tandem/internal/simulator"
)

// TestAHostileBotAPIServer: an update that no Telegram sends costs a moment, is kept, and holds up nothing.
func TestAHostileBotAPIServer(t *testing.T) {
	onBoth(t, func(t *testing.T, database string) {
		const links = 60_000
		r := newRig(t, database).start().waitWeb().waitPolling()
		stays := r.webMustStay()
		var entities strings.Builder
		for i := range links {
			fmt.Fprintf(&entities, `{"type":"text_link","offset":0,"length":%d,"url":"https://evil.example/%d"},`, links, i)
		}
		nested := strings.Repeat(`[`, 20_000) + strings.Repeat(`]`, 20_000)
		name, text := strings.Repeat("long ", 100_000), strings.Repeat("x", links)
		r.tg.AddFault(simulator.Fault{
			Kind: simulator.Raw, Method: "getUpdates", Status: 200, Times: 1, Interrupt: true,
			Body: `{"ok":true,"result":[
				{"update_id":1,"message":{"message_id":1,"date":1,"chat":{"id":7,"type":"private"},
					"from":{"id":7,"first_name":"` + name + `"},
					"text":"` + text + `","entities":[` + strings.TrimSuffix(entities.String(), ",") + `]}},
				{"update_id":2,"message":{"message_id":2,"date":1,"chat":{"id":7,"type":"private"},
					"text":"nested","story":` + nested + `}},
				{"update_id":3,"message":{"message_id":3,"date":1,"chat":{"id":7,"type":"private"},
					"text":"after them"}}]}`,
		})
		r.roundTrip(8, "meanwhile")
		c := r.conversation(7)
		if n := len(c.Customer.Name); n > 2_000 {
			t.Errorf("a name of %d bytes", n)
		}
		list := r.messages(c.ID)
		if len(list) != 3 || list[1].Text != "nested" || list[2].Text != "after them" ||
			!strings.HasPrefix(list[0].Text, "xxx") || len(list[0].Text) > 200_000 {
			t.Errorf("stored: %d messages, the first of %d bytes", len(list), len(list[0].Text))
		}
		stays()
		r.stop()
	})
}
