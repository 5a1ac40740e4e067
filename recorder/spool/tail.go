package spool

import (
	"errors"
	"fmt"
	"os"
)

// tail is where a journal goes on.
type tail struct {
	offset   int64 // end of the last authentic chunk; 0: not even the file header is good, and nothing follows it
	index    uint64
	previous [tagSize]byte
	last     int64 // arrival of the last record; 0: none
}

// findTail finds the end of a journal: behind its last authentic chunk, wherever damage lies before that.
// It reads all headers, but decrypts only at the end.
func (c *chunks) findTail(size int64) (tail, error) {
	good, later, err := c.checkFileHeader(size)
	if err != nil {
		return tail{}, err
	}
	var t tail
	if good {
		t.offset = journalHeader
	}
	for from := int64(journalHeader); ; {
		offsets, err := c.walk(from, size)
		if err != nil {
			return tail{}, err
		}
		if err := c.lastAuthentic(offsets, size, &t); err != nil {
			return tail{}, err
		}
		start := max(t.offset, journalHeader)
		found, _, ok, _, err := c.search(start, size, func(h chunkHead) bool { return h.index >= t.index })
		if err != nil {
			return tail{}, err
		}
		if !ok {
			break
		}
		from = found
	}
	if t.offset == 0 && later {
		return tail{}, ErrVersion
	}
	return t, nil
}

// walk follows the chunk headers from one chunk to the next, as far as they lead.
func (c *chunks) walk(off, size int64) ([]int64, error) {
	var offsets []int64
	for {
		h, ok, err := c.head(off, size)
		if err != nil {
			return nil, err
		}
		if !ok || h.size() > size-off {
			return offsets, nil
		}
		offsets = append(offsets, off)
		off += h.size()
	}
}

// lastAuthentic moves t behind the last chunk that authenticates.
func (c *chunks) lastAuthentic(offsets []int64, size int64, t *tail) error {
	for i := len(offsets) - 1; i >= 0; i-- {
		h, _, state, err := c.load(offsets[i], size)
		if err != nil {
			return err
		}
		if state == chunkWhole && h.index >= t.index {
			*t = tail{offset: offsets[i] + h.size(), index: h.index + 1, previous: c.tag(), last: h.last}
			return nil
		}
	}
	return nil
}

// cutTail finds the end of a journal file and cuts off what is behind it, durably. It returns the bytes cut.
func cutTail(f *os.File, keys *journalKeys) (t tail, cut int64, err error) {
	info, err := f.Stat()
	if err != nil {
		return tail{}, 0, err
	}
	c := &chunks{file: f, keys: keys}
	if t, err = c.findTail(info.Size()); err != nil {
		return tail{}, 0, err
	}
	if cut = info.Size() - t.offset; cut == 0 {
		return t, 0, nil
	}
	if err := errors.Join(f.Truncate(t.offset), f.Sync()); err != nil {
		return tail{}, 0, fmt.Errorf("cut torn tail: %w", err)
	}
	return t, cut, nil
}
