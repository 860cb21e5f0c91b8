package filetype

import (
	"bytes"
	"image"
	"image/gif"
	"image/jpeg"
	"image/png"
	"strings"
	"testing"
)

func TestOf(t *testing.T) {
	for _, c := range []struct {
		head, kind, want string
		inline           bool
	}{
		{"\xff\xd8\xff\xe0 and more", "document", "image/jpeg", true},
		{"\x89PNG\r\n\x1a\n", "photo", "image/png", true},
		{"GIF89a", "animation", "image/gif", true},
		{"RIFF\x00\x00\x00\x00WEBPVP8 ", "sticker", "image/webp", true},
		{"RIFF\x00\x00\x00\x00WAVEfmt ", "document", "audio/wav", true},
		{"RIFF\x00\x00\x00\x00AVI LIST", "video", "video/avi", false},
		{"OggS" + strings.Repeat("\x00", 24) + "OpusHead", "voice", "audio/ogg", true},
		{"OggS" + strings.Repeat("\x00", 24) + "OpusHead", "document", "audio/ogg", true},
		{"OggS" + strings.Repeat("\x00", 24) + "\x80theora", "document", "video/ogg", true},
		{"OggS and nothing that is known", "document", "application/ogg", false},
		{"OggS and nothing that is known", "voice", "audio/ogg", true},
		{"ID3\x04", "document", "audio/mpeg", true},
		{"\xff\xfb\x90\x00", "audio", "audio/mpeg", true},
		{"\xff\xfb\x90\x00", "document", "application/octet-stream", false},
		{"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x84webm", "sticker", "video/webm", true},
		{"\x1aE\xdf\xa3\x9fB\x86\x81\x01B\x82\x88matroska", "video", "video/x-matroska", false},
		{"\x00\x00\x00\x20ftypisom", "video", "video/mp4", true},
		{"\x00\x00\x00\x20ftypisom", "voice", "audio/mp4", true},
		{"\x00\x00\x00\x20ftypM4A ", "document", "audio/mp4", true},
		{"\x00\x00\x00\x20ftypavif", "document", "image/avif", false},
		{"\x00\x00\x00\x20ftypheic", "photo", "image/heic", false},
		{"\x1f\x8b\x08", "sticker", "application/x-tgsticker", false},
		{"%PDF-1.7", "photo", "application/pdf", false},
		{"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "photo", "image/svg+xml", false},
		{"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'/>", "photo", "image/svg+xml", false},
		{"<!DOCTYPE html><script>alert(1)</script>", "photo", "text/html", false},
		{"  \n<html>", "voice", "text/html", false},
		{"BM\x00\x00\x00\x00", "photo", "image/bmp", false},
		{"", "photo", "text/plain", false},
		{"\x00\x01\x02", "photo", "application/octet-stream", false},
	} {
		got := Of([]byte(c.head), c.kind)
		if got != c.want || Inline(got) != c.inline {
			t.Errorf("%q as %s is %s (inline %v), want %s", c.head, c.kind, got, Inline(got), c.want)
		}
	}
}

func TestSize(t *testing.T) {
	p := image.NewRGBA(image.Rect(0, 0, 30, 20))
	for name, encode := range map[string]func(b *bytes.Buffer) error{
		"jpeg": func(b *bytes.Buffer) error { return jpeg.Encode(b, p, nil) },
		"png":  func(b *bytes.Buffer) error { return png.Encode(b, p) },
		"gif":  func(b *bytes.Buffer) error { return gif.Encode(b, p, nil) },
	} {
		var b bytes.Buffer
		if err := encode(&b); err != nil {
			t.Fatal(err)
		}
		if w, h := Size(b.Bytes()); w != 30 || h != 20 {
			t.Errorf("%s: %d x %d", name, w, h)
		}
	}
	webp := "RIFF\x1e\x00\x00\x00WEBPVP8X\x0a\x00\x00\x00\x00\x00\x00\x00\x1d\x00\x00\x13\x00\x00"
	if w, h := Size([]byte(webp)); w != 30 || h != 20 {
		t.Errorf("webp: %d x %d", w, h)
	}
	for _, none := range []string{"", "no picture", "GIF89a", webp[:20]} {
		if w, h := Size([]byte(none)); w != 0 || h != 0 {
			t.Errorf("%q: %d x %d", none, w, h)
		}
	}
}

// Whatever a file begins with, nothing that a browser would run is shown.
func FuzzOf(f *testing.F) {
	f.Add([]byte("\x89PNG\r\n\x1a\n"), "photo")
	f.Add([]byte("<svg onload=alert(1)>"), "sticker")
	f.Fuzz(func(t *testing.T, head []byte, kind string) {
		media := Of(head, kind)
		if Inline(media) && (strings.Contains(media, "svg") || strings.HasPrefix(media, "text/")) {
			t.Errorf("%q is shown as %s", head, media)
		}
		Size(head)
	})
}
