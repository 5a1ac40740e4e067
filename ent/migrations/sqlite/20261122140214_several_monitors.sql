-- +goose Up
-- disable the enforcement of foreign-keys constraints
PRAGMA foreign_keys = off;
-- create "new_tracks" table
CREATE TABLE `new_tracks` (`id` text NOT NULL, `kind` text NOT NULL, `state` text NOT NULL DEFAULT ('EXPECTED'), `codec` text NOT NULL DEFAULT (''), `endpoint_ip` text NOT NULL DEFAULT (''), `endpoint_rtp_port` integer NOT NULL DEFAULT (0), `endpoint_rtcp_port` integer NOT NULL DEFAULT (0), `ssrc` integer NOT NULL DEFAULT (0), `packets` integer NOT NULL DEFAULT (0), `bytes` integer NOT NULL DEFAULT (0), `rtcp_packets` integer NOT NULL DEFAULT (0), `lost` integer NOT NULL DEFAULT (0), `duplicates` integer NOT NULL DEFAULT (0), `reordered` integer NOT NULL DEFAULT (0), `dropped_foreign` integer NOT NULL DEFAULT (0), `dropped_malformed` integer NOT NULL DEFAULT (0), `keyframes` integer NOT NULL DEFAULT (0), `keyframes_asked` integer NOT NULL DEFAULT (0), `jitter_ms` real NOT NULL DEFAULT (0), `first_packet_at` datetime NULL, `last_packet_at` datetime NULL, `recording_id` text NOT NULL, `tenant_id` text NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `tracks_recordings_tracks` FOREIGN KEY (`recording_id`) REFERENCES `recordings` (`id`) ON DELETE NO ACTION, CONSTRAINT `tracks_tenants_tenant` FOREIGN KEY (`tenant_id`) REFERENCES `tenants` (`id`) ON DELETE NO ACTION);
-- copy rows from old table "tracks" to new temporary table "new_tracks"
INSERT INTO `new_tracks` (`id`, `kind`, `state`, `codec`, `endpoint_ip`, `endpoint_rtp_port`, `endpoint_rtcp_port`, `ssrc`, `packets`, `bytes`, `rtcp_packets`, `lost`, `duplicates`, `reordered`, `dropped_foreign`, `dropped_malformed`, `keyframes`, `keyframes_asked`, `jitter_ms`, `first_packet_at`, `last_packet_at`, `recording_id`, `tenant_id`) SELECT `id`, `kind`, `state`, `codec`, `endpoint_ip`, `endpoint_rtp_port`, `endpoint_rtcp_port`, `ssrc`, `packets`, `bytes`, `rtcp_packets`, `lost`, `duplicates`, `reordered`, `dropped_foreign`, `dropped_malformed`, `keyframes`, `keyframes_asked`, `jitter_ms`, `first_packet_at`, `last_packet_at`, `recording_id`, `tenant_id` FROM `tracks`;
-- drop "tracks" table after copying rows
DROP TABLE `tracks`;
-- rename temporary table "new_tracks" to "tracks"
ALTER TABLE `new_tracks` RENAME TO `tracks`;
-- create index "track_tenant_id_recording_id_kind" to table: "tracks"
CREATE INDEX `track_tenant_id_recording_id_kind` ON `tracks` (`tenant_id`, `recording_id`, `kind`);
-- create index "track_recording_id" to table: "tracks"
CREATE INDEX `track_recording_id` ON `tracks` (`recording_id`);
-- enable back the enforcement of foreign-keys constraints
PRAGMA foreign_keys = on;

-- +goose Down
-- reverse: create index "track_recording_id" to table: "tracks"
DROP INDEX `track_recording_id`;
-- reverse: create index "track_tenant_id_recording_id_kind" to table: "tracks"
DROP INDEX `track_tenant_id_recording_id_kind`;
-- reverse: create "new_tracks" table
DROP TABLE `new_tracks`;
