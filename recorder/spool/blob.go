package spool

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/dualrec/dualrec/kms"
	"github.com/dualrec/dualrec/recorder"
)

// BlobRole and BlobFileID derive the key of a blob from the data key. The same ciphertext is uploaded, so whoever
// reads the stored object derives the same; they are kms's, which every reader may import.
const BlobRole = kms.BlobRole

// BlobFileID names a blob for DataKey.FileKey.
func BlobFileID(recordingID, name string) string { return kms.BlobFileID(recordingID, name) }

func (f *folder) blobKey(name string) (kms.FileKey, error) {
	return f.key.FileKey(BlobFileID(f.id, name), BlobRole)
}

// blobWriter implements recorder.BlobWriter. It is for one goroutine.
type blobWriter struct {
	folder *folder
	name   string
	file   *os.File
	*kms.Writer
	done bool
}

func (f *folder) Create(name string) (recorder.BlobWriter, error) {
	if err := f.usable(name, true); err != nil {
		return nil, fmt.Errorf("spool: create blob: %w", err)
	}
	key, err := f.blobKey(name)
	if err != nil {
		return nil, err
	}
	// The name is not part of the temporary one, which could become too long for the file system.
	file, err := os.OpenFile(filepath.Join(f.dir, blobFolder, unique(tempPrefix, "blob")), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, fmt.Errorf("spool: create blob %s of %s: %w", name, f.id, marked(err))
	}
	w, err := kms.NewWriter(file, key)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("spool: create blob %s of %s: %w", name, f.id, marked(err)), file.Close(), os.Remove(file.Name()))
	}
	return &blobWriter{folder: f, name: name, file: file, Writer: w}, nil
}

// Commit implements recorder.BlobWriter. After an error nothing is left of the blob, and one of the same name is untouched
// (unless the error is of the folder's fsync: then the new one is there, but may not be durable).
func (w *blobWriter) Commit() (recorder.BlobInfo, error) {
	if w.done {
		return recorder.BlobInfo{}, fmt.Errorf("spool: commit blob %s of %s: %w", w.name, w.folder.id, ErrClosed)
	}
	err := w.folder.usable(w.name, true)
	if err == nil {
		err = w.Writer.Close()
	}
	if err == nil {
		err = w.file.Sync()
	}
	if err != nil {
		w.Abort()
		return recorder.BlobInfo{}, fmt.Errorf("spool: commit blob %s of %s: %w", w.name, w.folder.id, marked(err))
	}
	w.done = true
	return w.publish()
}

func (w *blobWriter) publish() (recorder.BlobInfo, error) {
	sum := w.Sum()
	path := w.folder.blobPath(w.name)
	replaced := fileBytes(path)
	if err := errors.Join(w.file.Close(), os.Rename(w.file.Name(), path)); err != nil {
		os.Remove(w.file.Name()) //nolint:errcheck // the next Open deletes it
		return recorder.BlobInfo{}, fmt.Errorf("spool: commit blob %s of %s: %w", w.name, w.folder.id, err)
	}
	w.folder.spool.used.Add(sum.Ciphertext - replaced)
	if err := syncDir(filepath.Dir(path)); err != nil {
		return recorder.BlobInfo{}, fmt.Errorf("spool: commit blob %s of %s: %w", w.name, w.folder.id, err)
	}
	return recorder.BlobInfo{Name: w.name, Size: sum.Plaintext, CiphertextSize: sum.Ciphertext, CiphertextSHA256: sum.SHA256[:]}, nil
}

// Abort implements recorder.BlobWriter.
func (w *blobWriter) Abort() {
	if w.done {
		return
	}
	w.done = true
	if err := errors.Join(w.file.Close(), os.Remove(w.file.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
		w.folder.spool.log.Warn("spool could not delete an aborted blob", "recording_id", w.folder.id, "blob", w.name, "err", err)
	}
}

// Write implements io.Writer.
func (w *blobWriter) Write(p []byte) (int, error) {
	if w.done {
		return 0, fmt.Errorf("spool: write blob %s: %w", w.name, ErrClosed)
	}
	n, err := w.Writer.Write(p)
	return n, marked(err)
}

// blob implements recorder.Blob.
type blob struct {
	*kms.Reader
	file *os.File
	size int64
}

// Blob implements recorder.Folder. A blob that cannot be trusted is recorder.ErrSpoolDamaged and the kms error that says why.
func (f *folder) Blob(name string) (recorder.Blob, error) {
	if err := f.usable(name, false); err != nil {
		return nil, fmt.Errorf("spool: open blob: %w", err)
	}
	key, err := f.blobKey(name)
	if err != nil {
		return nil, err
	}
	file, err := os.Open(f.blobPath(name))
	if err != nil {
		return nil, fmt.Errorf("spool: open blob %s of %s: %w", name, f.id, err)
	}
	b, err := openBlob(file, key)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("spool: open blob %s of %s: %w", name, f.id, err), file.Close())
	}
	return b, nil
}

func openBlob(file *os.File, key kms.FileKey) (*blob, error) {
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	r, err := kms.NewReader(file, info.Size(), key)
	if err != nil {
		return nil, damagedBlob(err)
	}
	return &blob{Reader: r, file: file, size: info.Size()}, nil
}

// damagedBlob marks an envelope's refusals, and lets errors of the disk through.
func damagedBlob(err error) error {
	for _, refusal := range []error{kms.ErrDamaged, kms.ErrTruncated, kms.ErrTrailing, kms.ErrWrongKey, kms.ErrNotEnvelope} {
		if errors.Is(err, refusal) {
			return fmt.Errorf("%w: %w", recorder.ErrSpoolDamaged, err)
		}
	}
	return err
}

// ReadAt implements io.ReaderAt over the plaintext.
func (b *blob) ReadAt(p []byte, off int64) (int, error) {
	n, err := b.Reader.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		err = damagedBlob(err)
	}
	return n, err
}

// Close implements recorder.Blob.
func (b *blob) Close() error { return b.file.Close() }

// Ciphertext implements recorder.Blob. It shows the very version that was opened, even if another
// has taken its name, and it outlives Close.
func (b *blob) Ciphertext() (io.ReadSeekCloser, int64, error) {
	fd, err := unix.FcntlInt(b.file.Fd(), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil, 0, fmt.Errorf("spool: open ciphertext of %s: %w", filepath.Base(b.file.Name()), err)
	}
	file := os.NewFile(uintptr(fd), b.file.Name())
	return &ciphertext{SectionReader: io.NewSectionReader(file, 0, b.size), Closer: file}, b.size, nil
}

// ciphertext reads by offset, because duplicated handles share their position.
type ciphertext struct {
	*io.SectionReader
	io.Closer
}

// RemoveBlob implements recorder.Folder.
func (f *folder) RemoveBlob(name string) error {
	if err := f.usable(name, true); err != nil {
		return fmt.Errorf("spool: remove blob: %w", err)
	}
	path := f.blobPath(name)
	size := fileBytes(path)
	err := os.Remove(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		f.spool.used.Add(-size)
		err = syncDir(filepath.Dir(path))
	}
	if err != nil {
		return fmt.Errorf("spool: remove blob %s of %s: %w", name, f.id, err)
	}
	return nil
}
