package main

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"os/user"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dualrec/dualrec/auth"
	"github.com/dualrec/dualrec/ent/catalog"
	"github.com/dualrec/dualrec/events/natsbus"
	"github.com/dualrec/dualrec/recorder"
	"github.com/dualrec/dualrec/recorder/compose"
)

// The commands here work on the database directly: whoever can run them owns the installation. They give nobody
// access to media.

// with opens the catalog for one command.
func (c common) with(ctx context.Context, f func(*catalog.Catalog) error) (err error) {
	if err := c.makeFolders(); err != nil {
		return err
	}
	cat, err := catalog.Open(ctx, c.database(), slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() {
		if cerr := cat.Close(); err == nil {
			err = cerr
		}
	}()
	return f(cat)
}

// print shows text, or the facts as one JSON object.
func (c common) print(out *os.File, facts map[string]any, text string) error {
	if c.JSON {
		return json.NewEncoder(out).Encode(facts)
	}
	_, err := fmt.Fprintln(out, strings.TrimRight(text, "\n"))
	return err
}

// shellUser is who typed the command, for the audit log.
func shellUser() recorder.Actor {
	id := "unknown"
	if u, err := user.Current(); err == nil {
		id = u.Username
	}
	return recorder.Actor{Kind: "cli", ID: id}
}

func tenantByName(ctx context.Context, cat *catalog.Catalog, name string) (catalog.Tenant, error) {
	t, err := cat.TenantByName(ctx, name)
	if err != nil {
		return t, fmt.Errorf("tenant %q: %w (dualrec tenant list shows them)", name, err)
	}
	return t, nil
}

type tenantCmd struct {
	Create tenantCreate `cmd:"" help:"Make a tenant."`
	List   tenantList   `cmd:"" help:"List tenants."`

	Suspend tenantSuspend `cmd:"" help:"Shut a tenant out at once: API keys, user tokens, open sockets, media URLs."`
	Resume  tenantResume  `cmd:"" help:"Let a suspended tenant in again."`
}

type tenantCreate struct {
	common
	Name string `arg:"" help:"Name of the tenant, e.g. acme."`
	Plan string `help:"STANDARD or ENTERPRISE (own keys)." enum:"STANDARD,ENTERPRISE" default:"STANDARD"`
}

func (c *tenantCreate) Run(ctx context.Context, out *os.File) error {
	return c.with(ctx, func(cat *catalog.Catalog) error {
		t, err := cat.CreateTenant(ctx, catalog.Tenant{Name: c.Name, Plan: c.Plan}, shellUser())
		if err != nil {
			return err
		}
		return c.print(out, map[string]any{"tenantId": t.ID, "name": t.Name, "plan": t.Plan},
			fmt.Sprintf("Tenant %s made (%s, plan %s).\nNext: dualrec apikey create --tenant %s --role SERVICE --name sfu", t.Name, t.ID, t.Plan, t.Name))
	})
}

type tenantList struct{ common }

func (c *tenantList) Run(ctx context.Context, out *os.File) error {
	return c.with(ctx, func(cat *catalog.Catalog) error {
		all, err := cat.Tenants(ctx)
		if err != nil {
			return err
		}
		var rows []map[string]any
		lines := [][]string{{"NAME", "ID", "PLAN", "SUSPENDED"}}
		for _, t := range all {
			rows = append(rows, map[string]any{"tenantId": t.ID, "name": t.Name, "plan": t.Plan, "suspended": t.Suspended})
			lines = append(lines, []string{t.Name, t.ID, t.Plan, fmt.Sprint(t.Suspended)})
		}
		return c.print(out, map[string]any{"tenants": rows}, table(lines))
	})
}

type tenantSuspend struct {
	common
	Name string `arg:"" help:"Name of the tenant."`
}

func (c *tenantSuspend) Run(ctx context.Context, out *os.File) error {
	return c.suspend(ctx, out, c.Name, true, "Tenant %s is suspended: its keys, tokens and URLs are refused. Calls that are being recorded go on.")
}

type tenantResume struct {
	common
	Name string `arg:"" help:"Name of the tenant."`
}

func (c *tenantResume) Run(ctx context.Context, out *os.File) error {
	return c.suspend(ctx, out, c.Name, false, "Tenant %s may use the installation again.")
}

func (c common) suspend(ctx context.Context, out *os.File, name string, suspended bool, done string) error {
	return c.with(ctx, func(cat *catalog.Catalog) error {
		t, err := tenantByName(ctx, cat, name)
		if err != nil {
			return err
		}
		if err := cat.SuspendTenant(ctx, t.ID, suspended, shellUser()); err != nil {
			return fmt.Errorf("tenant %s: %w", t.Name, err)
		}
		return c.print(out, map[string]any{"tenantId": t.ID, "name": t.Name, "suspended": suspended}, fmt.Sprintf(done, t.Name))
	})
}

func table(lines [][]string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 4, 2, ' ', 0)
	for _, l := range lines {
		fmt.Fprintln(w, strings.Join(l, "\t"))
	}
	_ = w.Flush() // into memory: cannot fail
	return b.String()
}

type apikeyCmd struct {
	Create apikeyCreate `cmd:"" help:"Make an API key. Its secret is shown once."`
	List   apikeyList   `cmd:"" help:"List the API keys of a tenant."`
	Revoke apikeyRevoke `cmd:"" help:"Revoke an API key at once."`
}

type apikeyCreate struct {
	common
	Tenant    string        `required:"" help:"Name of the tenant."`
	Role      string        `required:"" help:"SERVICE (what an SFU needs), AGENT, REVIEWER, SUPERVISOR, ADMIN or AUDITOR." enum:"SERVICE,AGENT,REVIEWER,SUPERVISOR,ADMIN,AUDITOR"`
	Name      string        `help:"What uses it, e.g. sfu-1." default:"unnamed"`
	Queue     []string      `help:"Queues in reach of REVIEWER and SUPERVISOR (default: all)."`
	Network   []string      `help:"Networks (CIDR) from which alone the key may be used, and media of its calls may come (default: any)." placeholder:"CIDR"`
	ExpiresIn time.Duration `help:"Life of the key, e.g. 2160h (default: until revoked)."`
}

func (c *apikeyCreate) Run(ctx context.Context, out *os.File) error {
	return c.with(ctx, func(cat *catalog.Catalog) error {
		t, err := tenantByName(ctx, cat, c.Tenant)
		if err != nil {
			return err
		}
		if _, err := parseNetworks(c.Network); err != nil {
			return fmt.Errorf("--network: %w", err)
		}
		display, id, hash := auth.NewAPIKey()
		k := catalog.APIKey{ID: id, TenantID: t.ID, Hash: hash, Role: c.Role, Name: c.Name, Queues: orAllQueues(c.Queue), AllowedNetworks: c.Network}
		if c.ExpiresIn > 0 {
			k.ExpiresAt = time.Now().Add(c.ExpiresIn)
		}
		if _, err := cat.CreateAPIKey(ctx, k, shellUser()); err != nil {
			return err
		}
		return c.print(out, map[string]any{"keyId": id, "apiKey": display, "role": c.Role, "tenant": t.Name},
			fmt.Sprintf("API key %s (%s) of tenant %s. It is shown this once:\n\n  %s\n\nSend it as: Authorization: Bearer %s…", id, c.Role, t.Name, display, display[:min(8, len(display))]))
	})
}

// orAllQueues is what an operator means who names no queue.
func orAllQueues(queues []string) []string {
	if len(queues) == 0 {
		return []string{auth.AllQueues}
	}
	return queues
}

type apikeyList struct {
	common
	Tenant string `required:"" help:"Name of the tenant."`
}

func (c *apikeyList) Run(ctx context.Context, out *os.File) error {
	return c.with(ctx, func(cat *catalog.Catalog) error {
		t, err := tenantByName(ctx, cat, c.Tenant)
		if err != nil {
			return err
		}
		keys, err := cat.APIKeys(ctx, t.ID)
		if err != nil {
			return err
		}
		var rows []map[string]any
		lines := [][]string{{"ID", "NAME", "ROLE", "CREATED", "LAST USED", "STATE"}}
		for _, k := range keys {
			state := "usable"
			if !k.Usable(time.Now()) {
				state = "revoked or expired"
			}
			rows = append(rows, map[string]any{"keyId": k.ID, "name": k.Name, "role": k.Role, "createdAt": k.CreatedAt, "usable": k.Usable(time.Now())})
			lines = append(lines, []string{k.ID, k.Name, k.Role, k.CreatedAt.Format(time.DateTime), date(k.LastUsedAt), state})
		}
		return c.print(out, map[string]any{"apiKeys": rows}, table(lines))
	})
}

func date(t time.Time) string {
	if t.IsZero() {
		return "never"
	}
	return t.Format(time.DateTime)
}

type apikeyRevoke struct {
	common
	Tenant string `required:"" help:"Name of the tenant."`
	ID     string `arg:"" help:"Id of the key, as apikey list shows it."`
}

func (c *apikeyRevoke) Run(ctx context.Context, out *os.File) error {
	return c.with(ctx, func(cat *catalog.Catalog) error {
		t, err := tenantByName(ctx, cat, c.Tenant)
		if err != nil {
			return err
		}
		if err := cat.RevokeAPIKey(ctx, t.ID, c.ID, shellUser()); err != nil {
			return fmt.Errorf("API key %q of tenant %s: %w", c.ID, t.Name, err)
		}
		return c.print(out, map[string]any{"keyId": c.ID, "revoked": true}, "API key "+c.ID+" is revoked.")
	})
}

type tokenCmd struct {
	Create tokenCreate `cmd:"" help:"Make a user token: who may look at what, for at most 24 hours."`
}

type tokenCreate struct {
	common
	Tenant  string        `required:"" help:"Name of the tenant."`
	Subject string        `required:"" help:"Who it is for, e.g. an e-mail address; an agent's is the agent's id."`
	Role    string        `required:"" help:"AGENT, REVIEWER, SUPERVISOR, ADMIN or AUDITOR." enum:"AGENT,REVIEWER,SUPERVISOR,ADMIN,AUDITOR"`
	Queue   []string      `help:"Queues in reach (default: all)."`
	TTL     time.Duration `help:"Life of the token, at most 24h." default:"8h" name:"ttl"`
}

func (c *tokenCreate) Run(ctx context.Context, out *os.File) error {
	return c.with(ctx, func(cat *catalog.Catalog) error {
		t, err := tenantByName(ctx, cat, c.Tenant)
		if err != nil {
			return err
		}
		tokens, err := userTokens(c.common)
		if err != nil {
			return err
		}
		token, expires, err := tokens.Issue(auth.Principal{TenantID: t.ID, Subject: c.Subject, Role: auth.Role(c.Role), Queues: orAllQueues(c.Queue)}, c.TTL)
		if err != nil {
			return err
		}
		if err := cat.AuditToken(ctx, t.ID, c.Subject, c.Role, expires, shellUser()); err != nil {
			return err
		}
		return c.print(out, map[string]any{"token": token, "expiresAt": expires.Format(time.RFC3339), "subject": c.Subject, "role": c.Role},
			fmt.Sprintf("User token of %s (%s, tenant %s), good until %s:\n\n  %s", c.Subject, c.Role, t.Name, expires.Format(time.RFC3339), token))
	})
}

type queueCmd struct {
	Set  queueSet  `cmd:"" help:"Make a queue or change its recording profile; calls that run keep theirs."`
	List queueList `cmd:"" help:"List the queues of a tenant."`
}

type queueSet struct {
	common
	Tenant       string  `required:"" help:"Name of the tenant."`
	Name         string  `arg:"" help:"Name of the queue."`
	Layout       *string `help:"SIDE_BY_SIDE, PICTURE_IN_PICTURE, SCREEN_ONLY or AUDIO_ONLY."`
	Resolution   *string `help:"Canvas of SIDE_BY_SIDE: NATIVE (3200x1080) or FIT_1080P."`
	FPS          *int    `help:"5, 10, 15 or 30 frames a second." name:"fps"`
	Waveform     *bool   `help:"Burn the sound's waveform into the picture." negatable:""`
	Audio        *string `help:"MIX_MONO, or SPLIT_STEREO (agent left, customer right)."`
	AbsentWebcam *string `help:"PLACEHOLDER or SCREEN_ALONE."`
	Passthrough  *bool   `help:"Copy H.264 screens without encoding where nothing forbids it." negatable:""`
	MaxKbps      *int    `help:"Cap of the video's average rate." name:"max-kbps"`
	AutoResume   *int    `help:"Seconds after which a pause ends by itself; 0: never."`
	Reconnect    *int    `help:"Seconds that a recording waits for its media after the recorder was away (10 to 86400)."`

	KeyframeScreen *int `help:"Ask a screen for a keyframe when it has sent none for so many seconds; 0: never. Each costs the agent bandwidth."`
	KeyframeWebcam *int `help:"The same for a webcam."`
}

func (c *queueSet) Run(ctx context.Context, out *os.File) error {
	return c.with(ctx, func(cat *catalog.Catalog) error {
		t, err := tenantByName(ctx, cat, c.Tenant)
		if err != nil {
			return err
		}
		p, err := cat.Profile(ctx, t.ID, c.Name)
		if err != nil {
			return err
		}
		set(&p.Layout, c.Layout)
		set(&p.Resolution, c.Resolution)
		set(&p.AudioMode, c.Audio)
		set(&p.AbsentWebcam, c.AbsentWebcam)
		for dst, src := range map[*int]*int{&p.FPS: c.FPS, &p.MaxVideoKbps: c.MaxKbps, &p.AutoResumeSec: c.AutoResume, &p.ReconnectSec: c.Reconnect,
			&p.KeyframeScreen: c.KeyframeScreen, &p.KeyframeWebcam: c.KeyframeWebcam} {
			if src != nil {
				*dst = *src
			}
		}
		for dst, src := range map[*bool]*bool{&p.WaveformBurnIn: c.Waveform, &p.Passthrough: c.Passthrough} {
			if src != nil {
				*dst = *src
			}
		}
		if err := cat.SetQueue(ctx, t.ID, c.Name, p, shellUser()); err != nil {
			return err
		}
		return c.print(out, map[string]any{"queue": c.Name, "profile": p}, fmt.Sprintf("Queue %s of tenant %s: %+v", c.Name, t.Name, p))
	})
}

func set[T ~string](dst *T, src *string) {
	if src != nil {
		*dst = T(*src)
	}
}

type queueList struct {
	common
	Tenant string `required:"" help:"Name of the tenant."`
}

func (c *queueList) Run(ctx context.Context, out *os.File) error {
	return c.with(ctx, func(cat *catalog.Catalog) error {
		t, err := tenantByName(ctx, cat, c.Tenant)
		if err != nil {
			return err
		}
		queues, err := cat.Queues(ctx, t.ID)
		if err != nil {
			return err
		}
		lines := [][]string{{"QUEUE", "LAYOUT", "RESOLUTION", "FPS", "AUDIO", "WAVEFORM", "PASSTHROUGH"}}
		for _, q := range queues {
			p := q.Profile
			lines = append(lines, []string{q.Name, string(p.Layout), string(p.Resolution), fmt.Sprint(p.FPS), string(p.AudioMode), fmt.Sprint(p.WaveformBurnIn), fmt.Sprint(p.Passthrough)})
		}
		return c.print(out, map[string]any{"queues": queues}, table(lines))
	})
}

type doctorCmd struct {
	common
	natsFlags
	Role   role   `help:"What this machine is to be: all, api or recorder." enum:"all,api,recorder" default:"all" env:"DUALREC_ROLE"`
	FFmpeg string `help:"FFmpeg program." default:"ffmpeg" env:"DUALREC_FFMPEG" name:"ffmpeg"`
}

func (c *doctorCmd) Run(ctx context.Context, out *os.File) error {
	facts := map[string]any{"database": "ok"}
	var lines []string
	if c.Role != roleAPI {
		found, err := findFFmpeg(ctx, c.FFmpeg)
		if err != nil {
			return err
		}
		facts["ffmpeg"], lines = found, append(lines, "ffmpeg "+found+": has everything that is needed")
	}
	if c.NATS != "" {
		client, err := c.clientTLS()
		if err != nil {
			return err
		}
		if err := natsbus.Check(ctx, natsbus.Config{URL: c.NATS, ClientTLS: client, Token: c.NATSToken, Credentials: c.NATSCredentials}); err != nil {
			return fmt.Errorf("NATS: %w", err)
		}
		facts["nats"], lines = "ok", append(lines, "NATS: answers")
	}
	return c.with(ctx, func(cat *catalog.Catalog) error {
		if err := cat.Ping(ctx); err != nil {
			return fmt.Errorf("database: %w", err)
		}
		return c.print(out, facts, strings.Join(append(lines, "database: answers"), "\n"))
	})
}

func findFFmpeg(ctx context.Context, path string) (version string, err error) {
	composer, err := compose.New(compose.Config{FFmpegPath: path}, slog.New(slog.DiscardHandler))
	if err != nil {
		return "", err
	}
	found, err := composer.Probe(ctx)
	if err != nil {
		return "", fmt.Errorf("ffmpeg: %w\ninstall it (Debian, Ubuntu: apt-get install ffmpeg) or name it by --ffmpeg", err)
	}
	return found.Version, nil
}
