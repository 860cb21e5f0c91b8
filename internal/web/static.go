package web

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"net/http"

	"github.com/gorilla/mux"
)

//go:embed static
var staticFiles embed.FS

var staticTypes = map[string]string{
	"app.css":   "text/css; charset=utf-8",
	"app.js":    "text/javascript; charset=utf-8",
	"viewer.js": "text/javascript; charset=utf-8",
	"icon.svg":  "image/svg+xml",
}

// staticVersions are the hashes of the files' contents: an address with one never changes what it gives.
var staticVersions = func() map[string]string {
	versions := map[string]string{}
	for name := range staticTypes {
		b, err := staticFiles.ReadFile("static/" + name)
		if err != nil {
			panic(err)
		}
		sum := sha256.Sum256(b)
		versions[name] = hex.EncodeToString(sum[:6])
	}
	return versions
}()

func staticURL(name string) string { return "/static/" + name + "?v=" + staticVersions[name] }

func serveStatic(w http.ResponseWriter, r *http.Request) error {
	name := mux.Vars(r)["file"]
	media, ok := staticTypes[name]
	if !ok {
		return &problem{http.StatusNotFound, "there is nothing at this address"}
	}
	b, err := staticFiles.ReadFile("static/" + name)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", media)
	w.Header().Set("Cache-Control", "no-cache")
	if r.URL.Query().Get("v") == staticVersions[name] {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	_, _ = w.Write(b)
	return nil
}
