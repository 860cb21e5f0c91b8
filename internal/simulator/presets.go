package simulator

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
)

// The faults that tests and people need by name. Each is a plain Fault: set Method, ChatID, Text, Skip and Times
// on the result to narrow it.

// Conflict is a stranger who polls with the same token: 409 to every poll, also to the one that waits.
func Conflict() Fault {
	return Fault{Kind: Answer, Method: "getUpdates", Status: 409, Description: displaced.description,
		Label: "conflict", Interrupt: true}
}

// Unauthorized is a token that was revoked.
func Unauthorized() Fault {
	return Fault{Kind: Answer, Status: 401, Description: "Unauthorized", Label: "unauthorized", Interrupt: true}
}

// NotFound is what a wrong base URL or a malformed token gets.
func NotFound() Fault {
	return Fault{Kind: Answer, Status: 404, Description: "Not Found", Label: "not_found", Interrupt: true}
}

// Blocked refuses messages with the words for a customer who has blocked the bot.
func Blocked() Fault { return Refused(403, "Forbidden: bot was blocked by the user") }

// Deactivated refuses messages with the words for a deleted account.
func Deactivated() Fault { return Refused(403, "Forbidden: user is deactivated") }

// Refused refuses messages with any error.
func Refused(status int, description string) Fault {
	return Fault{Kind: Answer, Method: "sendMessage", Status: status, Description: description, Label: "refused"}
}

// Migrated refuses messages because the group has become a supergroup with that id.
func Migrated(to int64) Fault {
	return Fault{Kind: Answer, Method: "sendMessage", Status: 400, Label: "migrated",
		Description: "Bad Request: group chat was upgraded to a supergroup chat",
		Parameters:  json.RawMessage(`{"migrate_to_chat_id":` + strconv.FormatInt(to, 10) + `}`)}
}

// Flood is a 429 as Telegram sends it.
func Flood(seconds int) Fault {
	r := tooMany(seconds)
	return Fault{Kind: Answer, Method: "sendMessage", Status: r.status, Description: r.description,
		Parameters: r.parameters, Header: map[string]string{"Retry-After": r.retryAfter}, Label: "flood"}
}

// FloodString is a 429 whose retry_after is a string, which makes telebot panic.
func FloodString(seconds int) Fault {
	f := Flood(seconds)
	f.Header, f.Label = nil, "flood_string"
	f.Parameters = json.RawMessage(`{"retry_after":"` + strconv.Itoa(seconds) + `"}`)
	return f
}

// FloodHeader is a 429 that says how long only in the HTTP header.
func FloodHeader(seconds int) Fault {
	f := Flood(seconds)
	f.Parameters, f.Description, f.Label = nil, "Too Many Requests", "flood_header"
	return f
}

// FloodMissing is a 429 that does not say how long.
func FloodMissing() Fault {
	f := FloodHeader(1)
	f.Header, f.Label = nil, "flood_missing"
	return f
}

// Restart is Telegram's server being restarted.
func Restart() Fault {
	return Fault{Kind: Answer, Status: 500, Description: "Internal Server Error: restart", Label: "restart",
		Interrupt: true}
}

func page(status int, title, label string) Fault {
	return Fault{Kind: Raw, Status: status, Label: label, Interrupt: true,
		Header: map[string]string{"Content-Type": "text/html"},
		Body: "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title +
			"</h1></center>\r\n<hr><center>nginx/1.18.0</center>\r\n</body>\r\n</html>\r\n"}
}

// BadGateway is the page of the proxy in front of Telegram.
func BadGateway() Fault { return page(http.StatusBadGateway, "502 Bad Gateway", "bad_gateway") }

// GatewayTimeout is the other page of that proxy.
func GatewayTimeout() Fault {
	return page(http.StatusGatewayTimeout, "504 Gateway Time-out", "gateway_timeout")
}

// CaptivePortal answers everything with 200 and a page to log in.
func CaptivePortal() Fault { return page(http.StatusOK, "Welcome to our Wi-Fi", "captive_portal") }

// Empty answers 200 with nothing.
func Empty() Fault {
	return Fault{Kind: Raw, Status: 200, Header: map[string]string{"Content-Type": "application/json"}, Label: "empty"}
}

// Truncated answers 200 with the beginning of a response.
func Truncated() Fault {
	return Fault{Kind: Raw, Status: 200, Header: map[string]string{"Content-Type": "application/json"},
		Body: `{"ok":true,"result":[{"update_id":1234`, Label: "truncated"}
}

// Redirect sends the client elsewhere; one that follows gives the token away in its Referer.
func Redirect(to string) Fault {
	return Fault{Kind: Raw, Status: http.StatusFound, Header: map[string]string{"Location": to}, Label: "redirect",
		Interrupt: true}
}

// Cut breaks the connection before the call is accepted.
func Cut() Fault { return Fault{Kind: Reset, Label: "reset", Interrupt: true} }

// CutAfter breaks it after the call was accepted: its outcome is unknown.
func CutAfter() Fault { return Fault{Kind: ResetAfter, Method: "sendMessage", Label: "reset_after"} }

// Stall gives no response until it is cleared.
func Stall() Fault { return Fault{Kind: Hang, Label: "hang"} }

// StallAfter accepts a message and then gives no response until it is cleared.
func StallAfter() Fault { return Fault{Kind: HangAfter, Method: "sendMessage", Label: "hang_after"} }

// Dribble takes ms milliseconds for the response's body.
func Dribble(ms int) Fault { return Fault{Kind: Slow, DelayMS: ms, Label: "slow"} }

// Delay answers everything ms milliseconds late.
func Delay(ms int) Fault { return Fault{Kind: Late, DelayMS: ms, Label: "late"} }

// presets are the faults by their names in the control API.
var presets = map[string]func() Fault{
	"conflict": Conflict, "unauthorized": Unauthorized, "not_found": NotFound,
	"blocked": Blocked, "deactivated": Deactivated,
	"flood":         func() Fault { return Flood(5) },
	"flood_string":  func() Fault { return FloodString(5) },
	"flood_header":  func() Fault { return FloodHeader(5) },
	"flood_missing": FloodMissing,
	"restart":       Restart, "bad_gateway": BadGateway, "gateway_timeout": GatewayTimeout,
	"captive_portal": CaptivePortal, "empty": Empty, "truncated": Truncated,
	"redirect": func() Fault { return Redirect("/elsewhere") },
	"reset":    Cut, "reset_after": CutAfter, "hang": Stall, "hang_after": StallAfter,
	"slow": func() Fault { return Dribble(5000) }, "late": func() Fault { return Delay(2000) },
}

// Presets are the names that the control API takes for faults.
func Presets() []string { return slices.Sorted(maps.Keys(presets)) }
