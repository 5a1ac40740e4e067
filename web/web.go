// Package web serves the console's files. The console is built by npm into dist/ and embedded; a binary built
// without it serves a plain page that says how to get it. The package knows nothing of recordings.
package web

import (
	"embed"
	"io/fs"
	"net/http"
	"strings"
)

//go:embed all:dist
var files embed.FS

//go:embed plain.html
var plain []byte

// Handler serves the console: existing files by name, every other path the start page (its router does the rest).
// All content is public and static: it holds no data of any tenant.
func Handler() http.Handler {
	dist, err := fs.Sub(files, "dist")
	if err != nil {
		panic(err) // the name is a constant: cannot happen
	}
	index, err := fs.ReadFile(dist, "index.html")
	if err != nil {
		index = plain
	}
	server := http.FileServerFS(dist)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; media-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'")
		name := strings.TrimPrefix(r.URL.Path, "/")
		if st, err := fs.Stat(dist, name); err == nil && !st.IsDir() && name != "index.html" && !strings.HasPrefix(name, ".") {
			server.ServeHTTP(w, r)
			return
		}
		h.Set("Content-Type", "text/html; charset=utf-8")
		h.Set("Cache-Control", "no-cache")
		if r.Method == http.MethodGet {
			_, _ = w.Write(index) // the client has gone if this fails
		}
	})
}
