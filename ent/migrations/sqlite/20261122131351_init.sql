-- +goose Up
-- create "api_keys" table
CREATE TABLE `api_keys` (`id` text NOT NULL, `hash` blob NOT NULL, `role` text NOT NULL, `name` text NOT NULL, `queues` json NULL, `allowed_networks` json NULL, `created_at` datetime NOT NULL, `last_used_at` datetime NULL, `expires_at` datetime NULL, `revoked_at` datetime NULL, `tenant_id` text NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `api_keys_tenants_tenant` FOREIGN KEY (`tenant_id`) REFERENCES `tenants` (`id`) ON DELETE NO ACTION);
-- create index "apikey_tenant_id_created_at" to table: "api_keys"
CREATE INDEX `apikey_tenant_id_created_at` ON `api_keys` (`tenant_id`, `created_at`);
-- create "agents" table
CREATE TABLE `agents` (`id` text NOT NULL, `external_id` text NOT NULL, `display_name` text NOT NULL DEFAULT (''), `created_at` datetime NOT NULL, `tenant_id` text NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `agents_tenants_tenant` FOREIGN KEY (`tenant_id`) REFERENCES `tenants` (`id`) ON DELETE NO ACTION);
-- create index "agent_tenant_id_external_id" to table: "agents"
CREATE UNIQUE INDEX `agent_tenant_id_external_id` ON `agents` (`tenant_id`, `external_id`);
-- create "audit_events" table
CREATE TABLE `audit_events` (`id` text NOT NULL, `seq` integer NOT NULL, `actor_kind` text NOT NULL, `actor_id` text NOT NULL, `actor_ip` text NOT NULL DEFAULT (''), `action` text NOT NULL, `object` text NOT NULL, `at` datetime NOT NULL, `details` json NULL, `tenant_id` text NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `audit_events_tenants_tenant` FOREIGN KEY (`tenant_id`) REFERENCES `tenants` (`id`) ON DELETE NO ACTION);
-- create index "auditevent_tenant_id_seq" to table: "audit_events"
CREATE UNIQUE INDEX `auditevent_tenant_id_seq` ON `audit_events` (`tenant_id`, `seq`);
-- create index "auditevent_tenant_id_at_id" to table: "audit_events"
CREATE INDEX `auditevent_tenant_id_at_id` ON `audit_events` (`tenant_id`, `at`, `id`);
-- create index "auditevent_tenant_id_object_seq" to table: "audit_events"
CREATE INDEX `auditevent_tenant_id_object_seq` ON `audit_events` (`tenant_id`, `object`, `seq`);
-- create index "auditevent_tenant_id_action_seq" to table: "audit_events"
CREATE INDEX `auditevent_tenant_id_action_seq` ON `audit_events` (`tenant_id`, `action`, `seq`);
-- create "bookmarks" table
CREATE TABLE `bookmarks` (`id` text NOT NULL, `author_kind` text NOT NULL, `author_id` text NOT NULL, `at_us` integer NOT NULL, `to_us` integer NULL, `label` text NOT NULL DEFAULT (''), `color` text NOT NULL DEFAULT (''), `created_at` datetime NOT NULL, `tenant_id` text NOT NULL, `recording_id` text NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `bookmarks_tenants_tenant` FOREIGN KEY (`tenant_id`) REFERENCES `tenants` (`id`) ON DELETE NO ACTION, CONSTRAINT `bookmarks_recordings_bookmarks` FOREIGN KEY (`recording_id`) REFERENCES `recordings` (`id`) ON DELETE NO ACTION);
-- create index "bookmark_tenant_id_recording_id_at_us_id" to table: "bookmarks"
CREATE INDEX `bookmark_tenant_id_recording_id_at_us_id` ON `bookmarks` (`tenant_id`, `recording_id`, `at_us`, `id`);
-- create index "bookmark_recording_id_at_us" to table: "bookmarks"
CREATE INDEX `bookmark_recording_id_at_us` ON `bookmarks` (`recording_id`, `at_us`);
-- create "comments" table
CREATE TABLE `comments` (`id` text NOT NULL, `author_kind` text NOT NULL, `author_id` text NOT NULL, `at_us` integer NOT NULL, `body` text NOT NULL, `created_at` datetime NOT NULL, `resolved_at` datetime NULL, `resolved_by` text NOT NULL DEFAULT (''), `bookmark_id` text NULL, `tenant_id` text NOT NULL, `recording_id` text NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `comments_bookmarks_comments` FOREIGN KEY (`bookmark_id`) REFERENCES `bookmarks` (`id`) ON DELETE SET NULL, CONSTRAINT `comments_tenants_tenant` FOREIGN KEY (`tenant_id`) REFERENCES `tenants` (`id`) ON DELETE NO ACTION, CONSTRAINT `comments_recordings_comments` FOREIGN KEY (`recording_id`) REFERENCES `recordings` (`id`) ON DELETE NO ACTION);
-- create index "comment_tenant_id_recording_id_at_us_id" to table: "comments"
CREATE INDEX `comment_tenant_id_recording_id_at_us_id` ON `comments` (`tenant_id`, `recording_id`, `at_us`, `id`);
-- create index "comment_tenant_id_created_at_id" to table: "comments"
CREATE INDEX `comment_tenant_id_created_at_id` ON `comments` (`tenant_id`, `created_at`, `id`);
-- create index "comment_recording_id_at_us" to table: "comments"
CREATE INDEX `comment_recording_id_at_us` ON `comments` (`recording_id`, `at_us`);
-- create index "comment_bookmark_id" to table: "comments"
CREATE INDEX `comment_bookmark_id` ON `comments` (`bookmark_id`);
-- create "data_keys" table
CREATE TABLE `data_keys` (`id` text NOT NULL, `wrapped_key` json NULL, `provider` text NOT NULL DEFAULT (''), `key_ref` text NOT NULL DEFAULT (''), `state` text NOT NULL DEFAULT ('ACTIVE'), `created_at` datetime NOT NULL, `destroyed_at` datetime NULL, `tenant_id` text NOT NULL, `recording_id` text NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `data_keys_tenants_tenant` FOREIGN KEY (`tenant_id`) REFERENCES `tenants` (`id`) ON DELETE NO ACTION, CONSTRAINT `data_keys_recordings_data_key` FOREIGN KEY (`recording_id`) REFERENCES `recordings` (`id`) ON DELETE NO ACTION);
-- create index "data_keys_recording_id_key" to table: "data_keys"
CREATE UNIQUE INDEX `data_keys_recording_id_key` ON `data_keys` (`recording_id`);
-- create index "datakey_tenant_id_recording_id" to table: "data_keys"
CREATE UNIQUE INDEX `datakey_tenant_id_recording_id` ON `data_keys` (`tenant_id`, `recording_id`);
-- create "gaps" table
CREATE TABLE `gaps` (`id` text NOT NULL, `kind` text NOT NULL, `from_us` integer NOT NULL, `to_us` integer NOT NULL, `packets` integer NOT NULL DEFAULT (0), `detail` text NOT NULL DEFAULT (''), `tenant_id` text NOT NULL, `track_id` text NULL, `recording_id` text NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `gaps_tenants_tenant` FOREIGN KEY (`tenant_id`) REFERENCES `tenants` (`id`) ON DELETE NO ACTION, CONSTRAINT `gaps_tracks_track` FOREIGN KEY (`track_id`) REFERENCES `tracks` (`id`) ON DELETE SET NULL, CONSTRAINT `gaps_recordings_gaps` FOREIGN KEY (`recording_id`) REFERENCES `recordings` (`id`) ON DELETE NO ACTION);
-- create index "gap_tenant_id_recording_id_from_us" to table: "gaps"
CREATE INDEX `gap_tenant_id_recording_id_from_us` ON `gaps` (`tenant_id`, `recording_id`, `from_us`);
-- create index "gap_recording_id" to table: "gaps"
CREATE INDEX `gap_recording_id` ON `gaps` (`recording_id`);
-- create "grants" table
CREATE TABLE `grants` (`id` text NOT NULL, `asset` text NOT NULL, `viewer` text NOT NULL, `purpose` text NOT NULL DEFAULT (''), `ip` text NOT NULL DEFAULT (''), `disposition` text NOT NULL DEFAULT (''), `issued_at` datetime NOT NULL, `expires_at` datetime NOT NULL, `revoked_at` datetime NULL, `first_used_at` datetime NULL, `tenant_id` text NOT NULL, `recording_id` text NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `grants_tenants_tenant` FOREIGN KEY (`tenant_id`) REFERENCES `tenants` (`id`) ON DELETE NO ACTION, CONSTRAINT `grants_recordings_grants` FOREIGN KEY (`recording_id`) REFERENCES `recordings` (`id`) ON DELETE NO ACTION);
-- create index "grant_tenant_id_recording_id_issued_at" to table: "grants"
CREATE INDEX `grant_tenant_id_recording_id_issued_at` ON `grants` (`tenant_id`, `recording_id`, `issued_at`);
-- create index "grant_recording_id" to table: "grants"
CREATE INDEX `grant_recording_id` ON `grants` (`recording_id`);
-- create index "grant_expires_at" to table: "grants"
CREATE INDEX `grant_expires_at` ON `grants` (`expires_at`);
-- create "qa_links" table
CREATE TABLE `qa_links` (`id` text NOT NULL, `external_system` text NOT NULL, `external_id` text NOT NULL, `url` text NOT NULL DEFAULT (''), `form_name` text NOT NULL DEFAULT (''), `score` real NULL, `scale` real NOT NULL DEFAULT (100), `synced_at` datetime NOT NULL, `created_at` datetime NOT NULL, `tenant_id` text NOT NULL, `recording_id` text NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `qa_links_tenants_tenant` FOREIGN KEY (`tenant_id`) REFERENCES `tenants` (`id`) ON DELETE NO ACTION, CONSTRAINT `qa_links_recordings_qa_links` FOREIGN KEY (`recording_id`) REFERENCES `recordings` (`id`) ON DELETE NO ACTION);
-- create index "qalink_tenant_id_external_system_external_id" to table: "qa_links"
CREATE UNIQUE INDEX `qalink_tenant_id_external_system_external_id` ON `qa_links` (`tenant_id`, `external_system`, `external_id`);
-- create index "qalink_recording_id" to table: "qa_links"
CREATE INDEX `qalink_recording_id` ON `qa_links` (`recording_id`);
-- create "queues" table
CREATE TABLE `queues` (`id` text NOT NULL, `name` text NOT NULL, `created_at` datetime NOT NULL, `layout` text NOT NULL DEFAULT ('SIDE_BY_SIDE'), `resolution` text NOT NULL DEFAULT ('NATIVE'), `fps` integer NOT NULL DEFAULT (30), `waveform_burn_in` bool NOT NULL DEFAULT (false), `audio_mode` text NOT NULL DEFAULT ('MIX_MONO'), `absent_webcam` text NOT NULL DEFAULT ('PLACEHOLDER'), `passthrough` bool NOT NULL DEFAULT (false), `max_video_kbps` integer NOT NULL DEFAULT (2350), `pip_width` integer NOT NULL DEFAULT (480), `pip_margin` integer NOT NULL DEFAULT (24), `segment_seconds` integer NOT NULL DEFAULT (10), `auto_resume_seconds` integer NOT NULL DEFAULT (0), `keyframe_screen_seconds` integer NOT NULL DEFAULT (120), `keyframe_webcam_seconds` integer NOT NULL DEFAULT (60), `tenant_id` text NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `queues_tenants_tenant` FOREIGN KEY (`tenant_id`) REFERENCES `tenants` (`id`) ON DELETE NO ACTION);
-- create index "queue_tenant_id_name" to table: "queues"
CREATE UNIQUE INDEX `queue_tenant_id_name` ON `queues` (`tenant_id`, `name`);
-- create "recordings" table
CREATE TABLE `recordings` (`id` text NOT NULL, `customer_id` text NOT NULL DEFAULT (''), `client` text NOT NULL DEFAULT (''), `session_type` text NOT NULL DEFAULT (''), `node` text NOT NULL, `capture` text NOT NULL DEFAULT ('PENDING'), `capture_since` datetime NOT NULL, `capture_reason` text NOT NULL DEFAULT (''), `tier` text NOT NULL DEFAULT ('HOT'), `disposition` text NOT NULL DEFAULT ('RETAINED'), `started_at` datetime NOT NULL, `ended_at` datetime NULL, `duration_us` integer NOT NULL DEFAULT (0), `size_bytes` integer NOT NULL DEFAULT (0), `layout` text NOT NULL, `resolution` text NOT NULL, `width` integer NOT NULL DEFAULT (0), `height` integer NOT NULL DEFAULT (0), `video_codec` text NOT NULL DEFAULT (''), `audio_codec` text NOT NULL DEFAULT (''), `passthrough` bool NOT NULL DEFAULT (false), `has_gaps` bool NOT NULL DEFAULT (false), `qa_score_sort` real NOT NULL DEFAULT (-1), `compose_lag_ms` integer NOT NULL DEFAULT (0), `failure_code` text NOT NULL DEFAULT (''), `failure_text` text NOT NULL DEFAULT (''), `rtcp_mux` bool NOT NULL DEFAULT (false), `profile` json NOT NULL, `expires_at` datetime NULL, `created_at` datetime NOT NULL, `tenant_id` text NOT NULL, `queue_id` text NOT NULL, `agent_id` text NOT NULL, `session_id` text NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `recordings_tenants_tenant` FOREIGN KEY (`tenant_id`) REFERENCES `tenants` (`id`) ON DELETE NO ACTION, CONSTRAINT `recordings_queues_queue` FOREIGN KEY (`queue_id`) REFERENCES `queues` (`id`) ON DELETE NO ACTION, CONSTRAINT `recordings_agents_agent` FOREIGN KEY (`agent_id`) REFERENCES `agents` (`id`) ON DELETE NO ACTION, CONSTRAINT `recordings_sessions_recordings` FOREIGN KEY (`session_id`) REFERENCES `sessions` (`id`) ON DELETE NO ACTION);
-- create index "recording_tenant_id_started_at_id" to table: "recordings"
CREATE INDEX `recording_tenant_id_started_at_id` ON `recordings` (`tenant_id`, `started_at`, `id`);
-- create index "recording_tenant_id_agent_id_started_at_id" to table: "recordings"
CREATE INDEX `recording_tenant_id_agent_id_started_at_id` ON `recordings` (`tenant_id`, `agent_id`, `started_at`, `id`);
-- create index "recording_tenant_id_queue_id_started_at_id" to table: "recordings"
CREATE INDEX `recording_tenant_id_queue_id_started_at_id` ON `recordings` (`tenant_id`, `queue_id`, `started_at`, `id`);
-- create index "recording_tenant_id_customer_id_started_at_id" to table: "recordings"
CREATE INDEX `recording_tenant_id_customer_id_started_at_id` ON `recordings` (`tenant_id`, `customer_id`, `started_at`, `id`);
-- create index "recording_tenant_id_client_started_at_id" to table: "recordings"
CREATE INDEX `recording_tenant_id_client_started_at_id` ON `recordings` (`tenant_id`, `client`, `started_at`, `id`);
-- create index "recording_tenant_id_session_type_started_at_id" to table: "recordings"
CREATE INDEX `recording_tenant_id_session_type_started_at_id` ON `recordings` (`tenant_id`, `session_type`, `started_at`, `id`);
-- create index "recording_tenant_id_capture_started_at_id" to table: "recordings"
CREATE INDEX `recording_tenant_id_capture_started_at_id` ON `recordings` (`tenant_id`, `capture`, `started_at`, `id`);
-- create index "recording_tenant_id_qa_score_sort_id" to table: "recordings"
CREATE INDEX `recording_tenant_id_qa_score_sort_id` ON `recordings` (`tenant_id`, `qa_score_sort`, `id`);
-- create index "recording_tenant_id_duration_us_id" to table: "recordings"
CREATE INDEX `recording_tenant_id_duration_us_id` ON `recordings` (`tenant_id`, `duration_us`, `id`);
-- create index "recording_tenant_id_size_bytes_id" to table: "recordings"
CREATE INDEX `recording_tenant_id_size_bytes_id` ON `recordings` (`tenant_id`, `size_bytes`, `id`);
-- create index "recording_tenant_id_created_at_id" to table: "recordings"
CREATE INDEX `recording_tenant_id_created_at_id` ON `recordings` (`tenant_id`, `created_at`, `id`);
-- create index "recording_tenant_id_session_id" to table: "recordings"
CREATE INDEX `recording_tenant_id_session_id` ON `recordings` (`tenant_id`, `session_id`);
-- create index "recording_node_capture" to table: "recordings"
CREATE INDEX `recording_node_capture` ON `recordings` (`node`, `capture`);
-- create index "recording_disposition_expires_at" to table: "recordings"
CREATE INDEX `recording_disposition_expires_at` ON `recordings` (`disposition`, `expires_at`);
-- create "segments" table
CREATE TABLE `segments` (`id` text NOT NULL, `idx` integer NOT NULL, `from_frame` integer NOT NULL, `to_frame` integer NOT NULL, `layout` text NOT NULL, `paused` bool NOT NULL DEFAULT (false), `size_bytes` integer NOT NULL DEFAULT (0), `spool_name` text NOT NULL DEFAULT (''), `recording_id` text NOT NULL, `tenant_id` text NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `segments_recordings_segments` FOREIGN KEY (`recording_id`) REFERENCES `recordings` (`id`) ON DELETE NO ACTION, CONSTRAINT `segments_tenants_tenant` FOREIGN KEY (`tenant_id`) REFERENCES `tenants` (`id`) ON DELETE NO ACTION);
-- create index "segment_tenant_id_recording_id_idx" to table: "segments"
CREATE UNIQUE INDEX `segment_tenant_id_recording_id_idx` ON `segments` (`tenant_id`, `recording_id`, `idx`);
-- create index "segment_recording_id" to table: "segments"
CREATE INDEX `segment_recording_id` ON `segments` (`recording_id`);
-- create "sessions" table
CREATE TABLE `sessions` (`id` text NOT NULL, `external_id` text NOT NULL, `customer_id` text NOT NULL DEFAULT (''), `client` text NOT NULL DEFAULT (''), `session_type` text NOT NULL DEFAULT (''), `metadata` json NULL, `started_at` datetime NOT NULL, `ended_at` datetime NULL, `created_at` datetime NOT NULL, `tenant_id` text NOT NULL, `queue_id` text NOT NULL, `agent_id` text NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `sessions_tenants_tenant` FOREIGN KEY (`tenant_id`) REFERENCES `tenants` (`id`) ON DELETE NO ACTION, CONSTRAINT `sessions_queues_queue` FOREIGN KEY (`queue_id`) REFERENCES `queues` (`id`) ON DELETE NO ACTION, CONSTRAINT `sessions_agents_agent` FOREIGN KEY (`agent_id`) REFERENCES `agents` (`id`) ON DELETE NO ACTION);
-- create index "session_tenant_id_external_id" to table: "sessions"
CREATE UNIQUE INDEX `session_tenant_id_external_id` ON `sessions` (`tenant_id`, `external_id`);
-- create index "session_tenant_id_started_at_id" to table: "sessions"
CREATE INDEX `session_tenant_id_started_at_id` ON `sessions` (`tenant_id`, `started_at`, `id`);
-- create index "session_tenant_id_customer_id_started_at" to table: "sessions"
CREATE INDEX `session_tenant_id_customer_id_started_at` ON `sessions` (`tenant_id`, `customer_id`, `started_at`);
-- create "copies" table
CREATE TABLE `copies` (`id` text NOT NULL, `role` text NOT NULL, `target` text NOT NULL, `object_key` text NOT NULL, `version_id` text NOT NULL DEFAULT (''), `file_id` text NOT NULL DEFAULT (''), `size` integer NOT NULL DEFAULT (0), `ciphertext_size` integer NOT NULL DEFAULT (0), `ciphertext_sha256` blob NULL, `state` text NOT NULL DEFAULT ('REGISTERED'), `created_at` datetime NOT NULL, `stored_at` datetime NULL, `recording_id` text NOT NULL, `tenant_id` text NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `copies_recordings_copies` FOREIGN KEY (`recording_id`) REFERENCES `recordings` (`id`) ON DELETE NO ACTION, CONSTRAINT `copies_tenants_tenant` FOREIGN KEY (`tenant_id`) REFERENCES `tenants` (`id`) ON DELETE NO ACTION);
-- create index "storedcopy_tenant_id_target_object_key" to table: "copies"
CREATE UNIQUE INDEX `storedcopy_tenant_id_target_object_key` ON `copies` (`tenant_id`, `target`, `object_key`);
-- create index "storedcopy_tenant_id_recording_id_role" to table: "copies"
CREATE INDEX `storedcopy_tenant_id_recording_id_role` ON `copies` (`tenant_id`, `recording_id`, `role`);
-- create index "storedcopy_recording_id" to table: "copies"
CREATE INDEX `storedcopy_recording_id` ON `copies` (`recording_id`);
-- create "tags" table
CREATE TABLE `tags` (`id` text NOT NULL, `name` text NOT NULL, `started_at` datetime NOT NULL, `recording_id` text NOT NULL, `tenant_id` text NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `tags_recordings_tag_rows` FOREIGN KEY (`recording_id`) REFERENCES `recordings` (`id`) ON DELETE NO ACTION, CONSTRAINT `tags_tenants_tenant` FOREIGN KEY (`tenant_id`) REFERENCES `tenants` (`id`) ON DELETE NO ACTION);
-- create index "tag_tenant_id_recording_id_name" to table: "tags"
CREATE UNIQUE INDEX `tag_tenant_id_recording_id_name` ON `tags` (`tenant_id`, `recording_id`, `name`);
-- create index "tag_tenant_id_name_started_at_recording_id" to table: "tags"
CREATE INDEX `tag_tenant_id_name_started_at_recording_id` ON `tags` (`tenant_id`, `name`, `started_at`, `recording_id`);
-- create index "tag_recording_id" to table: "tags"
CREATE INDEX `tag_recording_id` ON `tags` (`recording_id`);
-- create "tenants" table
CREATE TABLE `tenants` (`id` text NOT NULL, `name` text NOT NULL, `slug` text NOT NULL, `plan` text NOT NULL DEFAULT ('STANDARD'), `status` text NOT NULL DEFAULT ('ACTIVE'), `audit_seq` integer NOT NULL DEFAULT (0), `created_at` datetime NOT NULL, PRIMARY KEY (`id`));
-- create index "tenants_name_key" to table: "tenants"
CREATE UNIQUE INDEX `tenants_name_key` ON `tenants` (`name`);
-- create index "tenants_slug_key" to table: "tenants"
CREATE UNIQUE INDEX `tenants_slug_key` ON `tenants` (`slug`);
-- create "tracks" table
CREATE TABLE `tracks` (`id` text NOT NULL, `kind` text NOT NULL, `state` text NOT NULL DEFAULT ('EXPECTED'), `codec` text NOT NULL DEFAULT (''), `endpoint_ip` text NOT NULL DEFAULT (''), `endpoint_rtp_port` integer NOT NULL DEFAULT (0), `endpoint_rtcp_port` integer NOT NULL DEFAULT (0), `ssrc` integer NOT NULL DEFAULT (0), `packets` integer NOT NULL DEFAULT (0), `bytes` integer NOT NULL DEFAULT (0), `rtcp_packets` integer NOT NULL DEFAULT (0), `lost` integer NOT NULL DEFAULT (0), `duplicates` integer NOT NULL DEFAULT (0), `reordered` integer NOT NULL DEFAULT (0), `dropped_foreign` integer NOT NULL DEFAULT (0), `dropped_malformed` integer NOT NULL DEFAULT (0), `keyframes` integer NOT NULL DEFAULT (0), `keyframes_asked` integer NOT NULL DEFAULT (0), `jitter_ms` real NOT NULL DEFAULT (0), `first_packet_at` datetime NULL, `last_packet_at` datetime NULL, `recording_id` text NOT NULL, `tenant_id` text NOT NULL, PRIMARY KEY (`id`), CONSTRAINT `tracks_recordings_tracks` FOREIGN KEY (`recording_id`) REFERENCES `recordings` (`id`) ON DELETE NO ACTION, CONSTRAINT `tracks_tenants_tenant` FOREIGN KEY (`tenant_id`) REFERENCES `tenants` (`id`) ON DELETE NO ACTION);
-- create index "track_tenant_id_recording_id_kind" to table: "tracks"
CREATE UNIQUE INDEX `track_tenant_id_recording_id_kind` ON `tracks` (`tenant_id`, `recording_id`, `kind`);
-- create index "track_recording_id" to table: "tracks"
CREATE INDEX `track_recording_id` ON `tracks` (`recording_id`);

-- +goose Down
-- reverse: create index "track_recording_id" to table: "tracks"
DROP INDEX `track_recording_id`;
-- reverse: create index "track_tenant_id_recording_id_kind" to table: "tracks"
DROP INDEX `track_tenant_id_recording_id_kind`;
-- reverse: create "tracks" table
DROP TABLE `tracks`;
-- reverse: create index "tenants_slug_key" to table: "tenants"
DROP INDEX `tenants_slug_key`;
-- reverse: create index "tenants_name_key" to table: "tenants"
DROP INDEX `tenants_name_key`;
-- reverse: create "tenants" table
DROP TABLE `tenants`;
-- reverse: create index "tag_recording_id" to table: "tags"
DROP INDEX `tag_recording_id`;
-- reverse: create index "tag_tenant_id_name_started_at_recording_id" to table: "tags"
DROP INDEX `tag_tenant_id_name_started_at_recording_id`;
-- reverse: create index "tag_tenant_id_recording_id_name" to table: "tags"
DROP INDEX `tag_tenant_id_recording_id_name`;
-- reverse: create "tags" table
DROP TABLE `tags`;
-- reverse: create index "storedcopy_recording_id" to table: "copies"
DROP INDEX `storedcopy_recording_id`;
-- reverse: create index "storedcopy_tenant_id_recording_id_role" to table: "copies"
DROP INDEX `storedcopy_tenant_id_recording_id_role`;
-- reverse: create index "storedcopy_tenant_id_target_object_key" to table: "copies"
DROP INDEX `storedcopy_tenant_id_target_object_key`;
-- reverse: create "copies" table
DROP TABLE `copies`;
-- reverse: create index "session_tenant_id_customer_id_started_at" to table: "sessions"
DROP INDEX `session_tenant_id_customer_id_started_at`;
-- reverse: create index "session_tenant_id_started_at_id" to table: "sessions"
DROP INDEX `session_tenant_id_started_at_id`;
-- reverse: create index "session_tenant_id_external_id" to table: "sessions"
DROP INDEX `session_tenant_id_external_id`;
-- reverse: create "sessions" table
DROP TABLE `sessions`;
-- reverse: create index "segment_recording_id" to table: "segments"
DROP INDEX `segment_recording_id`;
-- reverse: create index "segment_tenant_id_recording_id_idx" to table: "segments"
DROP INDEX `segment_tenant_id_recording_id_idx`;
-- reverse: create "segments" table
DROP TABLE `segments`;
-- reverse: create index "recording_disposition_expires_at" to table: "recordings"
DROP INDEX `recording_disposition_expires_at`;
-- reverse: create index "recording_node_capture" to table: "recordings"
DROP INDEX `recording_node_capture`;
-- reverse: create index "recording_tenant_id_session_id" to table: "recordings"
DROP INDEX `recording_tenant_id_session_id`;
-- reverse: create index "recording_tenant_id_created_at_id" to table: "recordings"
DROP INDEX `recording_tenant_id_created_at_id`;
-- reverse: create index "recording_tenant_id_size_bytes_id" to table: "recordings"
DROP INDEX `recording_tenant_id_size_bytes_id`;
-- reverse: create index "recording_tenant_id_duration_us_id" to table: "recordings"
DROP INDEX `recording_tenant_id_duration_us_id`;
-- reverse: create index "recording_tenant_id_qa_score_sort_id" to table: "recordings"
DROP INDEX `recording_tenant_id_qa_score_sort_id`;
-- reverse: create index "recording_tenant_id_capture_started_at_id" to table: "recordings"
DROP INDEX `recording_tenant_id_capture_started_at_id`;
-- reverse: create index "recording_tenant_id_session_type_started_at_id" to table: "recordings"
DROP INDEX `recording_tenant_id_session_type_started_at_id`;
-- reverse: create index "recording_tenant_id_client_started_at_id" to table: "recordings"
DROP INDEX `recording_tenant_id_client_started_at_id`;
-- reverse: create index "recording_tenant_id_customer_id_started_at_id" to table: "recordings"
DROP INDEX `recording_tenant_id_customer_id_started_at_id`;
-- reverse: create index "recording_tenant_id_queue_id_started_at_id" to table: "recordings"
DROP INDEX `recording_tenant_id_queue_id_started_at_id`;
-- reverse: create index "recording_tenant_id_agent_id_started_at_id" to table: "recordings"
DROP INDEX `recording_tenant_id_agent_id_started_at_id`;
-- reverse: create index "recording_tenant_id_started_at_id" to table: "recordings"
DROP INDEX `recording_tenant_id_started_at_id`;
-- reverse: create "recordings" table
DROP TABLE `recordings`;
-- reverse: create index "queue_tenant_id_name" to table: "queues"
DROP INDEX `queue_tenant_id_name`;
-- reverse: create "queues" table
DROP TABLE `queues`;
-- reverse: create index "qalink_recording_id" to table: "qa_links"
DROP INDEX `qalink_recording_id`;
-- reverse: create index "qalink_tenant_id_external_system_external_id" to table: "qa_links"
DROP INDEX `qalink_tenant_id_external_system_external_id`;
-- reverse: create "qa_links" table
DROP TABLE `qa_links`;
-- reverse: create index "grant_expires_at" to table: "grants"
DROP INDEX `grant_expires_at`;
-- reverse: create index "grant_recording_id" to table: "grants"
DROP INDEX `grant_recording_id`;
-- reverse: create index "grant_tenant_id_recording_id_issued_at" to table: "grants"
DROP INDEX `grant_tenant_id_recording_id_issued_at`;
-- reverse: create "grants" table
DROP TABLE `grants`;
-- reverse: create index "gap_recording_id" to table: "gaps"
DROP INDEX `gap_recording_id`;
-- reverse: create index "gap_tenant_id_recording_id_from_us" to table: "gaps"
DROP INDEX `gap_tenant_id_recording_id_from_us`;
-- reverse: create "gaps" table
DROP TABLE `gaps`;
-- reverse: create index "datakey_tenant_id_recording_id" to table: "data_keys"
DROP INDEX `datakey_tenant_id_recording_id`;
-- reverse: create index "data_keys_recording_id_key" to table: "data_keys"
DROP INDEX `data_keys_recording_id_key`;
-- reverse: create "data_keys" table
DROP TABLE `data_keys`;
-- reverse: create index "comment_bookmark_id" to table: "comments"
DROP INDEX `comment_bookmark_id`;
-- reverse: create index "comment_recording_id_at_us" to table: "comments"
DROP INDEX `comment_recording_id_at_us`;
-- reverse: create index "comment_tenant_id_created_at_id" to table: "comments"
DROP INDEX `comment_tenant_id_created_at_id`;
-- reverse: create index "comment_tenant_id_recording_id_at_us_id" to table: "comments"
DROP INDEX `comment_tenant_id_recording_id_at_us_id`;
-- reverse: create "comments" table
DROP TABLE `comments`;
-- reverse: create index "bookmark_recording_id_at_us" to table: "bookmarks"
DROP INDEX `bookmark_recording_id_at_us`;
-- reverse: create index "bookmark_tenant_id_recording_id_at_us_id" to table: "bookmarks"
DROP INDEX `bookmark_tenant_id_recording_id_at_us_id`;
-- reverse: create "bookmarks" table
DROP TABLE `bookmarks`;
-- reverse: create index "auditevent_tenant_id_action_seq" to table: "audit_events"
DROP INDEX `auditevent_tenant_id_action_seq`;
-- reverse: create index "auditevent_tenant_id_object_seq" to table: "audit_events"
DROP INDEX `auditevent_tenant_id_object_seq`;
-- reverse: create index "auditevent_tenant_id_at_id" to table: "audit_events"
DROP INDEX `auditevent_tenant_id_at_id`;
-- reverse: create index "auditevent_tenant_id_seq" to table: "audit_events"
DROP INDEX `auditevent_tenant_id_seq`;
-- reverse: create "audit_events" table
DROP TABLE `audit_events`;
-- reverse: create index "agent_tenant_id_external_id" to table: "agents"
DROP INDEX `agent_tenant_id_external_id`;
-- reverse: create "agents" table
DROP TABLE `agents`;
-- reverse: create index "apikey_tenant_id_created_at" to table: "api_keys"
DROP INDEX `apikey_tenant_id_created_at`;
-- reverse: create "api_keys" table
DROP TABLE `api_keys`;
