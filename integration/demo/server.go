package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dualrec/dualrec/integration/harness"
)

// start runs the server with an empty data folder.
func (d *demo) start(ctx context.Context) error {
	if err := d.clear(); err != nil {
		return err
	}
	var err error
	if d.log, err = os.Create(d.logPath()); err != nil {
		return fmt.Errorf("log file: %w", err)
	}
	server, err := harness.New(harness.Options{Bin: d.bin, Data: d.dataPath(), Mirror: d.log})
	if err != nil {
		return err
	}
	if isFree(usualAddress) {
		server.URL = "http://" + usualAddress
	}
	d.screen.command("%s serve --data %s --listen %s", d.bin, d.dataPath(), strings.TrimPrefix(server.URL, "http://"))
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := server.Start(ctx); err != nil {
		return err
	}
	d.server = server
	d.screen.say("  listening; its log goes to %s", d.logPath())
	return nil
}

// usualAddress is the server's default; another one is taken where it is in use.
const usualAddress = "127.0.0.1:8080"

func isFree(address string) bool {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return false
	}
	return l.Close() == nil
}

// clear removes what an earlier demo left, and nothing else: the folder may be one that the user named.
func (d *demo) clear() error {
	if err := os.MkdirAll(d.out, 0o755); err != nil {
		return err
	}
	errs := []error{os.RemoveAll(d.dataPath())}
	for _, name := range []string{callVP8.out, callH264.out} {
		if err := os.Remove(filepath.Join(d.out, name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// stop ends the server once; what it had captured stays in the data folder.
func (d *demo) stop() error {
	if d.ended {
		return nil
	}
	d.ended = true
	var errs []error
	if d.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := d.server.Stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop the server: %w", err))
		}
	}
	if d.log != nil {
		errs = append(errs, d.log.Close())
	}
	return errors.Join(errs...)
}

// access is what the demo signs in with.
type access struct {
	service string // what an SFU has: an API key
	viewer  string // what a person has: a user token
}

const tenant = "demo"

// makeTenant does what an operator does once, by the command line.
func (d *demo) makeTenant(ctx context.Context) (access, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	var a access
	if _, err := d.cli(ctx, "", "tenant", "create", tenant, "--plan", "ENTERPRISE"); err != nil {
		return a, err
	}
	var err error
	if a.service, err = d.cli(ctx, "apiKey", "apikey", "create", "--tenant", tenant, "--role", "SERVICE", "--name", "sfu"); err != nil {
		return a, err
	}
	a.viewer, err = d.cli(ctx, "token", "token", "create", "--tenant", tenant, "--subject", "you@example.com", "--role", "ADMIN")
	return a, err
}

// cli shows and runs a command and returns the named secret of its answer. Secrets are shown by their beginning only.
func (d *demo) cli(ctx context.Context, secret string, args ...string) (string, error) {
	d.screen.command("%s %s --data %s", d.bin, strings.Join(args, " "), d.dataPath())
	answer, err := d.server.Command(ctx, args...)
	if err != nil || secret == "" {
		return "", err
	}
	value, _ := answer[secret].(string)
	if value == "" {
		return "", fmt.Errorf("dualrec %s printed no %s", strings.Join(args, " "), secret)
	}
	d.screen.say("  %s…", value[:min(12, len(value))])
	return value, nil
}
