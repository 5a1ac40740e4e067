package web

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

func TestHandler(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		name, method, path string
		status             int
		contains           string
	}{
		{"start page", http.MethodGet, "/", 200, "dualrec"},
		{"deep link", http.MethodGet, "/recordings/rec_1", 200, "dualrec"},
		{"hidden file", http.MethodGet, "/.gitkeep", 200, "dualrec"},
		{"traversal", http.MethodGet, "/../web.go", 200, "dualrec"},
		{"head", http.MethodHead, "/", 200, ""},
		{"post", http.MethodPost, "/", 405, "method"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			w := httptest.NewRecorder()
			Handler().ServeHTTP(w, httptest.NewRequest(tc.method, "http://x"+tc.path, nil))
			if w.Code != tc.status || !strings.Contains(w.Body.String(), tc.contains) {
				t.Errorf("%s %s = %d %q", tc.method, tc.path, w.Code, w.Body.String())
			}
		})
	}
}
