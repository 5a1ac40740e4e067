package catalog

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"entgo.io/ent/dialect/sql/sqlgraph"
	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/dualrec/dualrec/ent"
	"github.com/dualrec/dualrec/recorder"
)

// Errors of this package, beside those of recorder.
var (
	// ErrExists: a row with this name or id is there already.
	ErrExists = errors.New("catalog: exists already")
	// ErrInvalid marks a value that no row can hold; the text names the field and says why.
	ErrInvalid = errors.New("catalog: invalid value")
	// ErrUnavailable: the database does not answer or stayed busy; retry later.
	ErrUnavailable = fmt.Errorf("catalog: %w", recorder.ErrUnavailable)
	// ErrReadOnly: a write was tried through the client for reading.
	ErrReadOnly = errors.New("catalog: this client only reads")
)

// Error is a fault of the database. Its text says in which operation and nothing of SQL or rows; errors.As
// and Unwrap give the cause, and slog prints it.
type Error struct {
	Op  string
	Err error
}

// Error implements error.
func (e *Error) Error() string {
	if e.unavailable() {
		return fmt.Sprintf("catalog: %s: the database is unavailable", e.Op)
	}
	return fmt.Sprintf("catalog: %s: the database failed", e.Op)
}

// Unwrap gives the cause.
func (e *Error) Unwrap() error { return e.Err }

// Is makes an *Error that a later try may mend match ErrUnavailable.
func (e *Error) Is(target error) bool {
	return (target == ErrUnavailable || target == recorder.ErrUnavailable) && e.unavailable()
}

// LogValue shows operators the cause.
func (e *Error) LogValue() slog.Value {
	return slog.GroupValue(slog.String("op", e.Op), slog.String("cause", e.Err.Error()))
}

func (e *Error) unavailable() bool {
	var netErr net.Error
	var connErr *pgconn.ConnectError
	return retryable(e.Err) || errors.As(e.Err, &netErr) || errors.As(e.Err, &connErr) || errors.Is(e.Err, driver.ErrBadConn) ||
		errors.Is(e.Err, sql.ErrConnDone) || pgClass(e.Err, "08", "53", "57") || sqliteCode(e.Err, sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)
}

// known are the errors that callers act on and that say nothing of SQL.
var known = []error{recorder.ErrNotFound, recorder.ErrTenantSuspended, ErrExists, ErrInvalid, ErrReadOnly,
	context.Canceled, context.DeadlineExceeded}

// outward turns what a transaction returned into what a caller may see.
func outward(op string, err error) error {
	if err == nil {
		return nil
	}
	var invalid *ent.ValidationError
	var state *recorder.StateError
	switch {
	case errors.As(err, &state):
		return fmt.Errorf("catalog: %s: %w", op, state)
	case ent.IsNotFound(err):
		return fmt.Errorf("catalog: %s: %w", op, recorder.ErrNotFound)
	case errors.As(err, &invalid):
		return fmt.Errorf("catalog: %s: %w", op, refuse(ErrInvalid, "%s: %v", invalid.Name, innermost(invalid)))
	case sqlgraph.IsUniqueConstraintError(err):
		return fmt.Errorf("catalog: %s: %w", op, ErrExists)
	case sqlgraph.IsForeignKeyConstraintError(err):
		return fmt.Errorf("catalog: %s: a row that it refers to: %w", op, recorder.ErrNotFound)
	case pgClass(err, "22"): // data exception
		return fmt.Errorf("catalog: %s: %w", op, refuse(ErrInvalid, "a text has a zero byte or is not UTF-8, or a number is out of range"))
	}
	for _, k := range known {
		if errors.Is(err, k) {
			return fmt.Errorf("catalog: %s: %w", op, bare(err, k))
		}
	}
	return &Error{Op: op, Err: err}
}

// innermost is the validator's own word, without what ent says around it.
func innermost(err error) error {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err
}

// bare keeps our own texts about a known error and drops a driver's.
func bare(err, sentinel error) error {
	var own *Refusal
	if errors.As(err, &own) {
		return own
	}
	return sentinel
}

// Refusal is ErrInvalid or ErrExists with the reason in words for whoever gave the value.
type Refusal struct { //nolint:errname // it is read as what it is: catalog.Refusal
	Kind   error
	Reason string
}

// Error implements error.
func (r *Refusal) Error() string { return fmt.Sprintf("%v: %s", r.Kind, r.Reason) }

// Unwrap gives the kind.
func (r *Refusal) Unwrap() error { return r.Kind }

func refuse(kind error, format string, args ...any) error {
	return &Refusal{Kind: kind, Reason: fmt.Sprintf(format, args...)}
}

// retryable: the same transaction may succeed when it is run again.
func retryable(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		return pg.Code == "40001" || pg.Code == "40P01" || pg.Code == "55P03"
	}
	return sqliteCode(err, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
}

func pgClass(err error, classes ...string) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || len(pg.Code) < 2 {
		return false
	}
	for _, c := range classes {
		if pg.Code[:2] == c {
			return true
		}
	}
	return false
}

func sqliteCode(err error, codes ...int) bool {
	var lite *sqlite.Error
	if !errors.As(err, &lite) {
		return false
	}
	for _, c := range codes {
		if lite.Code()&0xff == c { // the low byte is the primary code
			return true
		}
	}
	return false
}
