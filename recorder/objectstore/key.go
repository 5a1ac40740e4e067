package objectstore

import (
	"crypto/sha256"
	"fmt"
	"strings"
)

// Limits of keys. They fit every store and file system in use: S3 allows 1,024 bytes, ext4 and NTFS 255 per part.
const (
	MaxKeyBytes  = 512
	MaxPartBytes = 200
)

// CheckKey returns a *KeyError unless key is made of slash-separated parts of letters, digits and "-_.=+@", none of
// them empty, longer than MaxPartBytes or starting with a dot. So a key can never leave a folder ("..", absolute
// paths, backslashes, drive letters), never meets an adapter's own dot files, and needs no escaping in a URL path.
func CheckKey(key string) error {
	if key == "" {
		return &KeyError{key, "it is empty"}
	}
	if len(key) > MaxKeyBytes {
		return &KeyError{key, fmt.Sprintf("%d bytes are more than the limit of %d", len(key), MaxKeyBytes)}
	}
	for part := range strings.SplitSeq(key, "/") {
		if reason := checkPart(part); reason != "" {
			return &KeyError{key, reason}
		}
	}
	return nil
}

func checkPart(part string) string {
	switch {
	case part == "":
		return "it has an empty part: write a/b, not /a, a//b or a/"
	case len(part) > MaxPartBytes:
		return fmt.Sprintf("a part has %d bytes, more than the limit of %d", len(part), MaxPartBytes)
	case part[0] == '.':
		return "a part starts with a dot"
	}
	for _, c := range []byte(part) {
		if !allowedInPart(c) {
			return fmt.Sprintf("it holds %q: use letters, digits and -_.=+@", c)
		}
	}
	return ""
}

func allowedInPart(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.=+@", c) >= 0
}

// CheckPut checks the arguments of a Put before any work.
func CheckPut(key string, size int64, digest []byte) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if size < 0 {
		return fmt.Errorf("%w: put %q: size %d is negative", ErrInvalid, key, size)
	}
	if len(digest) != sha256.Size {
		return fmt.Errorf("%w: put %q: the SHA-256 has %d bytes, want %d", ErrInvalid, key, len(digest), sha256.Size)
	}
	return nil
}
