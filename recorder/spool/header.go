package spool

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/recorder"
)

const (
	headerFormat   = "dualrec-spool"
	headerVersion  = 1
	headerRole     = "header"
	maxHeaderBytes = 1 << 20
	macInfo        = "dualrec/spool-header/v1\x00"
	keyCheckInfo   = "dualrec/spool-key/v1\x00"
)

// headerFile is header.json. Header stays raw, because its MAC is over its bytes.
type headerFile struct {
	Format   string          `json:"format"`
	Version  int             `json:"version"`
	Header   json.RawMessage `json:"header"`
	KeyCheck []byte          `json:"key_check"`
	MAC      []byte          `json:"mac"`
}

func headerMAC(key kms.FileKey, info string, content []byte) []byte {
	secret := key.Bytes()
	defer clear(secret)
	m := hmac.New(sha256.New, secret)
	m.Write([]byte(info))
	m.Write(content)
	return m.Sum(nil)
}

func encodeHeader(h recorder.Header, key kms.DataKey) ([]byte, error) {
	raw, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("spool: encode header: %w", err)
	}
	fk, err := key.FileKey(h.RecordingID, headerRole)
	if err != nil {
		return nil, err
	}
	out, err := json.Marshal(headerFile{Format: headerFormat, Version: headerVersion, Header: raw,
		KeyCheck: headerMAC(fk, keyCheckInfo, nil), MAC: headerMAC(fk, macInfo, raw)})
	if err != nil {
		return nil, fmt.Errorf("spool: encode header: %w", err)
	}
	if len(out) > maxHeaderBytes {
		return nil, fmt.Errorf("spool: the header has %d bytes, more than the limit of %d", len(out), maxHeaderBytes)
	}
	return out, nil
}

// parseHeader reads header.json without trusting it.
func parseHeader(raw []byte, recordingID string) (headerFile, recorder.Header, error) {
	damaged := func(why string) (headerFile, recorder.Header, error) {
		return headerFile{}, recorder.Header{}, fmt.Errorf("%w: %s of %s: %s", recorder.ErrSpoolDamaged, headerName, recordingID, why)
	}
	if len(raw) > maxHeaderBytes {
		return damaged(fmt.Sprintf("it is longer than %d bytes", maxHeaderBytes))
	}
	var f headerFile
	dec := json.NewDecoder(bytes.NewReader(raw))
	if err := dec.Decode(&f); err != nil {
		return damaged("it is not a JSON object of a spool header")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return damaged("something follows the JSON object")
	}
	if f.Format != headerFormat {
		return damaged("\"format\" is not " + headerFormat)
	}
	if f.Version != headerVersion {
		return headerFile{}, recorder.Header{}, fmt.Errorf("%w: %s of %s has version %d", ErrVersion, headerName, recordingID, f.Version)
	}
	var h recorder.Header
	if err := json.Unmarshal(f.Header, &h); err != nil {
		return damaged("its header is not one")
	}
	if h.RecordingID != recordingID {
		return damaged(fmt.Sprintf("it is the header of recording %.140q", h.RecordingID))
	}
	return f, h, nil
}

// authenticate tells a damaged header from a key that is not the folder's.
func (f headerFile) authenticate(recordingID string, key kms.DataKey) error {
	fk, err := key.FileKey(recordingID, headerRole)
	if err != nil {
		return err
	}
	switch {
	case hmac.Equal(f.MAC, headerMAC(fk, macInfo, f.Header)):
		return nil
	case hmac.Equal(f.KeyCheck, headerMAC(fk, keyCheckInfo, nil)):
		return fmt.Errorf("%w: %s of %s was changed", recorder.ErrSpoolDamaged, headerName, recordingID)
	}
	return fmt.Errorf("%w: %s", recorder.ErrSpoolKey, recordingID)
}

func readHeader(dir, recordingID string) (headerFile, recorder.Header, error) {
	f, err := os.Open(filepath.Join(dir, headerName))
	if err != nil {
		return headerFile{}, recorder.Header{}, fmt.Errorf("spool: read header of %s: %w", recordingID, err)
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxHeaderBytes+1))
	if err != nil {
		return headerFile{}, recorder.Header{}, fmt.Errorf("spool: read header of %s: %w", recordingID, err)
	}
	return parseHeader(raw, recordingID)
}
