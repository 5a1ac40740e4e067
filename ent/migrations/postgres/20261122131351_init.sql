-- +goose Up
-- create "tenants" table
CREATE TABLE "tenants" ("id" character varying NOT NULL, "name" character varying NOT NULL, "slug" character varying NOT NULL, "plan" character varying NOT NULL DEFAULT 'STANDARD', "status" character varying NOT NULL DEFAULT 'ACTIVE', "audit_seq" bigint NOT NULL DEFAULT 0, "created_at" timestamptz NOT NULL, PRIMARY KEY ("id"));
-- create index "tenants_name_key" to table: "tenants"
CREATE UNIQUE INDEX "tenants_name_key" ON "tenants" ("name");
-- create index "tenants_slug_key" to table: "tenants"
CREATE UNIQUE INDEX "tenants_slug_key" ON "tenants" ("slug");
-- create "agents" table
CREATE TABLE "agents" ("id" character varying NOT NULL, "external_id" character varying NOT NULL, "display_name" character varying NOT NULL DEFAULT '', "created_at" timestamptz NOT NULL, "tenant_id" character varying NOT NULL, PRIMARY KEY ("id"), CONSTRAINT "agents_tenants_tenant" FOREIGN KEY ("tenant_id") REFERENCES "tenants" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION);
-- create index "agent_tenant_id_external_id" to table: "agents"
CREATE UNIQUE INDEX "agent_tenant_id_external_id" ON "agents" ("tenant_id", "external_id");
-- create "api_keys" table
CREATE TABLE "api_keys" ("id" character varying NOT NULL, "hash" bytea NOT NULL, "role" character varying NOT NULL, "name" character varying NOT NULL, "queues" jsonb NULL, "allowed_networks" jsonb NULL, "created_at" timestamptz NOT NULL, "last_used_at" timestamptz NULL, "expires_at" timestamptz NULL, "revoked_at" timestamptz NULL, "tenant_id" character varying NOT NULL, PRIMARY KEY ("id"), CONSTRAINT "api_keys_tenants_tenant" FOREIGN KEY ("tenant_id") REFERENCES "tenants" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION);
-- create index "apikey_tenant_id_created_at" to table: "api_keys"
CREATE INDEX "apikey_tenant_id_created_at" ON "api_keys" ("tenant_id", "created_at");
-- create "audit_events" table
CREATE TABLE "audit_events" ("id" character varying NOT NULL, "seq" bigint NOT NULL, "actor_kind" character varying NOT NULL, "actor_id" character varying NOT NULL, "actor_ip" character varying NOT NULL DEFAULT '', "action" character varying NOT NULL, "object" character varying NOT NULL, "at" timestamptz NOT NULL, "details" json NULL, "tenant_id" character varying NOT NULL, PRIMARY KEY ("id"), CONSTRAINT "audit_events_tenants_tenant" FOREIGN KEY ("tenant_id") REFERENCES "tenants" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION);
-- create index "auditevent_tenant_id_action_seq" to table: "audit_events"
CREATE INDEX "auditevent_tenant_id_action_seq" ON "audit_events" ("tenant_id", "action", "seq");
-- create index "auditevent_tenant_id_at_id" to table: "audit_events"
CREATE INDEX "auditevent_tenant_id_at_id" ON "audit_events" ("tenant_id", "at", "id");
-- create index "auditevent_tenant_id_object_seq" to table: "audit_events"
CREATE INDEX "auditevent_tenant_id_object_seq" ON "audit_events" ("tenant_id", "object", "seq");
-- create index "auditevent_tenant_id_seq" to table: "audit_events"
CREATE UNIQUE INDEX "auditevent_tenant_id_seq" ON "audit_events" ("tenant_id", "seq");
-- create "queues" table
CREATE TABLE "queues" ("id" character varying NOT NULL, "name" character varying NOT NULL, "created_at" timestamptz NOT NULL, "layout" character varying NOT NULL DEFAULT 'SIDE_BY_SIDE', "resolution" character varying NOT NULL DEFAULT 'NATIVE', "fps" bigint NOT NULL DEFAULT 30, "waveform_burn_in" boolean NOT NULL DEFAULT false, "audio_mode" character varying NOT NULL DEFAULT 'MIX_MONO', "absent_webcam" character varying NOT NULL DEFAULT 'PLACEHOLDER', "passthrough" boolean NOT NULL DEFAULT false, "max_video_kbps" bigint NOT NULL DEFAULT 2350, "pip_width" bigint NOT NULL DEFAULT 480, "pip_margin" bigint NOT NULL DEFAULT 24, "segment_seconds" bigint NOT NULL DEFAULT 10, "auto_resume_seconds" bigint NOT NULL DEFAULT 0, "keyframe_screen_seconds" bigint NOT NULL DEFAULT 120, "keyframe_webcam_seconds" bigint NOT NULL DEFAULT 60, "tenant_id" character varying NOT NULL, PRIMARY KEY ("id"), CONSTRAINT "queues_tenants_tenant" FOREIGN KEY ("tenant_id") REFERENCES "tenants" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION);
-- create index "queue_tenant_id_name" to table: "queues"
CREATE UNIQUE INDEX "queue_tenant_id_name" ON "queues" ("tenant_id", "name");
-- create "sessions" table
CREATE TABLE "sessions" ("id" character varying NOT NULL, "external_id" character varying NOT NULL, "customer_id" character varying NOT NULL DEFAULT '', "client" character varying NOT NULL DEFAULT '', "session_type" character varying NOT NULL DEFAULT '', "metadata" jsonb NULL, "started_at" timestamptz NOT NULL, "ended_at" timestamptz NULL, "created_at" timestamptz NOT NULL, "tenant_id" character varying NOT NULL, "queue_id" character varying NOT NULL, "agent_id" character varying NOT NULL, PRIMARY KEY ("id"), CONSTRAINT "sessions_agents_agent" FOREIGN KEY ("agent_id") REFERENCES "agents" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION, CONSTRAINT "sessions_queues_queue" FOREIGN KEY ("queue_id") REFERENCES "queues" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION, CONSTRAINT "sessions_tenants_tenant" FOREIGN KEY ("tenant_id") REFERENCES "tenants" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION);
-- create index "session_tenant_id_customer_id_started_at" to table: "sessions"
CREATE INDEX "session_tenant_id_customer_id_started_at" ON "sessions" ("tenant_id", "customer_id", "started_at");
-- create index "session_tenant_id_external_id" to table: "sessions"
CREATE UNIQUE INDEX "session_tenant_id_external_id" ON "sessions" ("tenant_id", "external_id");
-- create index "session_tenant_id_started_at_id" to table: "sessions"
CREATE INDEX "session_tenant_id_started_at_id" ON "sessions" ("tenant_id", "started_at", "id");
-- create "recordings" table
CREATE TABLE "recordings" ("id" character varying NOT NULL, "customer_id" character varying NOT NULL DEFAULT '', "client" character varying NOT NULL DEFAULT '', "session_type" character varying NOT NULL DEFAULT '', "node" character varying NOT NULL, "capture" character varying NOT NULL DEFAULT 'PENDING', "capture_since" timestamptz NOT NULL, "capture_reason" character varying NOT NULL DEFAULT '', "tier" character varying NOT NULL DEFAULT 'HOT', "disposition" character varying NOT NULL DEFAULT 'RETAINED', "started_at" timestamptz NOT NULL, "ended_at" timestamptz NULL, "duration_us" bigint NOT NULL DEFAULT 0, "size_bytes" bigint NOT NULL DEFAULT 0, "layout" character varying NOT NULL, "resolution" character varying NOT NULL, "width" bigint NOT NULL DEFAULT 0, "height" bigint NOT NULL DEFAULT 0, "video_codec" character varying NOT NULL DEFAULT '', "audio_codec" character varying NOT NULL DEFAULT '', "passthrough" boolean NOT NULL DEFAULT false, "has_gaps" boolean NOT NULL DEFAULT false, "qa_score_sort" double precision NOT NULL DEFAULT -1, "compose_lag_ms" bigint NOT NULL DEFAULT 0, "failure_code" character varying NOT NULL DEFAULT '', "failure_text" character varying NOT NULL DEFAULT '', "rtcp_mux" boolean NOT NULL DEFAULT false, "profile" jsonb NOT NULL, "expires_at" timestamptz NULL, "created_at" timestamptz NOT NULL, "tenant_id" character varying NOT NULL, "queue_id" character varying NOT NULL, "agent_id" character varying NOT NULL, "session_id" character varying NOT NULL, PRIMARY KEY ("id"), CONSTRAINT "recordings_agents_agent" FOREIGN KEY ("agent_id") REFERENCES "agents" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION, CONSTRAINT "recordings_queues_queue" FOREIGN KEY ("queue_id") REFERENCES "queues" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION, CONSTRAINT "recordings_sessions_recordings" FOREIGN KEY ("session_id") REFERENCES "sessions" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION, CONSTRAINT "recordings_tenants_tenant" FOREIGN KEY ("tenant_id") REFERENCES "tenants" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION);
-- create index "recording_disposition_expires_at" to table: "recordings"
CREATE INDEX "recording_disposition_expires_at" ON "recordings" ("disposition", "expires_at");
-- create index "recording_node_capture" to table: "recordings"
CREATE INDEX "recording_node_capture" ON "recordings" ("node", "capture");
-- create index "recording_tenant_id_agent_id_started_at_id" to table: "recordings"
CREATE INDEX "recording_tenant_id_agent_id_started_at_id" ON "recordings" ("tenant_id", "agent_id", "started_at", "id");
-- create index "recording_tenant_id_capture_started_at_id" to table: "recordings"
CREATE INDEX "recording_tenant_id_capture_started_at_id" ON "recordings" ("tenant_id", "capture", "started_at", "id");
-- create index "recording_tenant_id_client_started_at_id" to table: "recordings"
CREATE INDEX "recording_tenant_id_client_started_at_id" ON "recordings" ("tenant_id", "client", "started_at", "id");
-- create index "recording_tenant_id_created_at_id" to table: "recordings"
CREATE INDEX "recording_tenant_id_created_at_id" ON "recordings" ("tenant_id", "created_at", "id");
-- create index "recording_tenant_id_customer_id_started_at_id" to table: "recordings"
CREATE INDEX "recording_tenant_id_customer_id_started_at_id" ON "recordings" ("tenant_id", "customer_id", "started_at", "id");
-- create index "recording_tenant_id_duration_us_id" to table: "recordings"
CREATE INDEX "recording_tenant_id_duration_us_id" ON "recordings" ("tenant_id", "duration_us", "id");
-- create index "recording_tenant_id_qa_score_sort_id" to table: "recordings"
CREATE INDEX "recording_tenant_id_qa_score_sort_id" ON "recordings" ("tenant_id", "qa_score_sort", "id");
-- create index "recording_tenant_id_queue_id_started_at_id" to table: "recordings"
CREATE INDEX "recording_tenant_id_queue_id_started_at_id" ON "recordings" ("tenant_id", "queue_id", "started_at", "id");
-- create index "recording_tenant_id_session_id" to table: "recordings"
CREATE INDEX "recording_tenant_id_session_id" ON "recordings" ("tenant_id", "session_id");
-- create index "recording_tenant_id_session_type_started_at_id" to table: "recordings"
CREATE INDEX "recording_tenant_id_session_type_started_at_id" ON "recordings" ("tenant_id", "session_type", "started_at", "id");
-- create index "recording_tenant_id_size_bytes_id" to table: "recordings"
CREATE INDEX "recording_tenant_id_size_bytes_id" ON "recordings" ("tenant_id", "size_bytes", "id");
-- create index "recording_tenant_id_started_at_id" to table: "recordings"
CREATE INDEX "recording_tenant_id_started_at_id" ON "recordings" ("tenant_id", "started_at", "id");
-- create "bookmarks" table
CREATE TABLE "bookmarks" ("id" character varying NOT NULL, "author_kind" character varying NOT NULL, "author_id" character varying NOT NULL, "at_us" bigint NOT NULL, "to_us" bigint NULL, "label" character varying NOT NULL DEFAULT '', "color" character varying NOT NULL DEFAULT '', "created_at" timestamptz NOT NULL, "tenant_id" character varying NOT NULL, "recording_id" character varying NOT NULL, PRIMARY KEY ("id"), CONSTRAINT "bookmarks_recordings_bookmarks" FOREIGN KEY ("recording_id") REFERENCES "recordings" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION, CONSTRAINT "bookmarks_tenants_tenant" FOREIGN KEY ("tenant_id") REFERENCES "tenants" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION);
-- create index "bookmark_recording_id_at_us" to table: "bookmarks"
CREATE INDEX "bookmark_recording_id_at_us" ON "bookmarks" ("recording_id", "at_us");
-- create index "bookmark_tenant_id_recording_id_at_us_id" to table: "bookmarks"
CREATE INDEX "bookmark_tenant_id_recording_id_at_us_id" ON "bookmarks" ("tenant_id", "recording_id", "at_us", "id");
-- create "comments" table
CREATE TABLE "comments" ("id" character varying NOT NULL, "author_kind" character varying NOT NULL, "author_id" character varying NOT NULL, "at_us" bigint NOT NULL, "body" character varying NOT NULL, "created_at" timestamptz NOT NULL, "resolved_at" timestamptz NULL, "resolved_by" character varying NOT NULL DEFAULT '', "bookmark_id" character varying NULL, "tenant_id" character varying NOT NULL, "recording_id" character varying NOT NULL, PRIMARY KEY ("id"), CONSTRAINT "comments_bookmarks_comments" FOREIGN KEY ("bookmark_id") REFERENCES "bookmarks" ("id") ON UPDATE NO ACTION ON DELETE SET NULL, CONSTRAINT "comments_recordings_comments" FOREIGN KEY ("recording_id") REFERENCES "recordings" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION, CONSTRAINT "comments_tenants_tenant" FOREIGN KEY ("tenant_id") REFERENCES "tenants" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION);
-- create index "comment_bookmark_id" to table: "comments"
CREATE INDEX "comment_bookmark_id" ON "comments" ("bookmark_id");
-- create index "comment_recording_id_at_us" to table: "comments"
CREATE INDEX "comment_recording_id_at_us" ON "comments" ("recording_id", "at_us");
-- create index "comment_tenant_id_created_at_id" to table: "comments"
CREATE INDEX "comment_tenant_id_created_at_id" ON "comments" ("tenant_id", "created_at", "id");
-- create index "comment_tenant_id_recording_id_at_us_id" to table: "comments"
CREATE INDEX "comment_tenant_id_recording_id_at_us_id" ON "comments" ("tenant_id", "recording_id", "at_us", "id");
-- create "copies" table
CREATE TABLE "copies" ("id" character varying NOT NULL, "role" character varying NOT NULL, "target" character varying NOT NULL, "object_key" character varying NOT NULL, "version_id" character varying NOT NULL DEFAULT '', "file_id" character varying NOT NULL DEFAULT '', "size" bigint NOT NULL DEFAULT 0, "ciphertext_size" bigint NOT NULL DEFAULT 0, "ciphertext_sha256" bytea NULL, "state" character varying NOT NULL DEFAULT 'REGISTERED', "created_at" timestamptz NOT NULL, "stored_at" timestamptz NULL, "recording_id" character varying NOT NULL, "tenant_id" character varying NOT NULL, PRIMARY KEY ("id"), CONSTRAINT "copies_recordings_copies" FOREIGN KEY ("recording_id") REFERENCES "recordings" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION, CONSTRAINT "copies_tenants_tenant" FOREIGN KEY ("tenant_id") REFERENCES "tenants" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION);
-- create index "storedcopy_recording_id" to table: "copies"
CREATE INDEX "storedcopy_recording_id" ON "copies" ("recording_id");
-- create index "storedcopy_tenant_id_recording_id_role" to table: "copies"
CREATE INDEX "storedcopy_tenant_id_recording_id_role" ON "copies" ("tenant_id", "recording_id", "role");
-- create index "storedcopy_tenant_id_target_object_key" to table: "copies"
CREATE UNIQUE INDEX "storedcopy_tenant_id_target_object_key" ON "copies" ("tenant_id", "target", "object_key");
-- create "data_keys" table
CREATE TABLE "data_keys" ("id" character varying NOT NULL, "wrapped_key" jsonb NULL, "provider" character varying NOT NULL DEFAULT '', "key_ref" character varying NOT NULL DEFAULT '', "state" character varying NOT NULL DEFAULT 'ACTIVE', "created_at" timestamptz NOT NULL, "destroyed_at" timestamptz NULL, "tenant_id" character varying NOT NULL, "recording_id" character varying NOT NULL, PRIMARY KEY ("id"), CONSTRAINT "data_keys_recordings_data_key" FOREIGN KEY ("recording_id") REFERENCES "recordings" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION, CONSTRAINT "data_keys_tenants_tenant" FOREIGN KEY ("tenant_id") REFERENCES "tenants" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION);
-- create index "data_keys_recording_id_key" to table: "data_keys"
CREATE UNIQUE INDEX "data_keys_recording_id_key" ON "data_keys" ("recording_id");
-- create index "datakey_tenant_id_recording_id" to table: "data_keys"
CREATE UNIQUE INDEX "datakey_tenant_id_recording_id" ON "data_keys" ("tenant_id", "recording_id");
-- create "tracks" table
CREATE TABLE "tracks" ("id" character varying NOT NULL, "kind" character varying NOT NULL, "state" character varying NOT NULL DEFAULT 'EXPECTED', "codec" character varying NOT NULL DEFAULT '', "endpoint_ip" character varying NOT NULL DEFAULT '', "endpoint_rtp_port" bigint NOT NULL DEFAULT 0, "endpoint_rtcp_port" bigint NOT NULL DEFAULT 0, "ssrc" bigint NOT NULL DEFAULT 0, "packets" bigint NOT NULL DEFAULT 0, "bytes" bigint NOT NULL DEFAULT 0, "rtcp_packets" bigint NOT NULL DEFAULT 0, "lost" bigint NOT NULL DEFAULT 0, "duplicates" bigint NOT NULL DEFAULT 0, "reordered" bigint NOT NULL DEFAULT 0, "dropped_foreign" bigint NOT NULL DEFAULT 0, "dropped_malformed" bigint NOT NULL DEFAULT 0, "keyframes" bigint NOT NULL DEFAULT 0, "keyframes_asked" bigint NOT NULL DEFAULT 0, "jitter_ms" double precision NOT NULL DEFAULT 0, "first_packet_at" timestamptz NULL, "last_packet_at" timestamptz NULL, "recording_id" character varying NOT NULL, "tenant_id" character varying NOT NULL, PRIMARY KEY ("id"), CONSTRAINT "tracks_recordings_tracks" FOREIGN KEY ("recording_id") REFERENCES "recordings" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION, CONSTRAINT "tracks_tenants_tenant" FOREIGN KEY ("tenant_id") REFERENCES "tenants" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION);
-- create index "track_recording_id" to table: "tracks"
CREATE INDEX "track_recording_id" ON "tracks" ("recording_id");
-- create index "track_tenant_id_recording_id_kind" to table: "tracks"
CREATE UNIQUE INDEX "track_tenant_id_recording_id_kind" ON "tracks" ("tenant_id", "recording_id", "kind");
-- create "gaps" table
CREATE TABLE "gaps" ("id" character varying NOT NULL, "kind" character varying NOT NULL, "from_us" bigint NOT NULL, "to_us" bigint NOT NULL, "packets" bigint NOT NULL DEFAULT 0, "detail" character varying NOT NULL DEFAULT '', "tenant_id" character varying NOT NULL, "track_id" character varying NULL, "recording_id" character varying NOT NULL, PRIMARY KEY ("id"), CONSTRAINT "gaps_recordings_gaps" FOREIGN KEY ("recording_id") REFERENCES "recordings" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION, CONSTRAINT "gaps_tenants_tenant" FOREIGN KEY ("tenant_id") REFERENCES "tenants" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION, CONSTRAINT "gaps_tracks_track" FOREIGN KEY ("track_id") REFERENCES "tracks" ("id") ON UPDATE NO ACTION ON DELETE SET NULL);
-- create index "gap_recording_id" to table: "gaps"
CREATE INDEX "gap_recording_id" ON "gaps" ("recording_id");
-- create index "gap_tenant_id_recording_id_from_us" to table: "gaps"
CREATE INDEX "gap_tenant_id_recording_id_from_us" ON "gaps" ("tenant_id", "recording_id", "from_us");
-- create "grants" table
CREATE TABLE "grants" ("id" character varying NOT NULL, "asset" character varying NOT NULL, "viewer" character varying NOT NULL, "purpose" character varying NOT NULL DEFAULT '', "ip" character varying NOT NULL DEFAULT '', "disposition" character varying NOT NULL DEFAULT '', "issued_at" timestamptz NOT NULL, "expires_at" timestamptz NOT NULL, "revoked_at" timestamptz NULL, "first_used_at" timestamptz NULL, "tenant_id" character varying NOT NULL, "recording_id" character varying NOT NULL, PRIMARY KEY ("id"), CONSTRAINT "grants_recordings_grants" FOREIGN KEY ("recording_id") REFERENCES "recordings" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION, CONSTRAINT "grants_tenants_tenant" FOREIGN KEY ("tenant_id") REFERENCES "tenants" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION);
-- create index "grant_expires_at" to table: "grants"
CREATE INDEX "grant_expires_at" ON "grants" ("expires_at");
-- create index "grant_recording_id" to table: "grants"
CREATE INDEX "grant_recording_id" ON "grants" ("recording_id");
-- create index "grant_tenant_id_recording_id_issued_at" to table: "grants"
CREATE INDEX "grant_tenant_id_recording_id_issued_at" ON "grants" ("tenant_id", "recording_id", "issued_at");
-- create "qa_links" table
CREATE TABLE "qa_links" ("id" character varying NOT NULL, "external_system" character varying NOT NULL, "external_id" character varying NOT NULL, "url" character varying NOT NULL DEFAULT '', "form_name" character varying NOT NULL DEFAULT '', "score" double precision NULL, "scale" double precision NOT NULL DEFAULT 100, "synced_at" timestamptz NOT NULL, "created_at" timestamptz NOT NULL, "tenant_id" character varying NOT NULL, "recording_id" character varying NOT NULL, PRIMARY KEY ("id"), CONSTRAINT "qa_links_recordings_qa_links" FOREIGN KEY ("recording_id") REFERENCES "recordings" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION, CONSTRAINT "qa_links_tenants_tenant" FOREIGN KEY ("tenant_id") REFERENCES "tenants" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION);
-- create index "qalink_recording_id" to table: "qa_links"
CREATE INDEX "qalink_recording_id" ON "qa_links" ("recording_id");
-- create index "qalink_tenant_id_external_system_external_id" to table: "qa_links"
CREATE UNIQUE INDEX "qalink_tenant_id_external_system_external_id" ON "qa_links" ("tenant_id", "external_system", "external_id");
-- create "segments" table
CREATE TABLE "segments" ("id" character varying NOT NULL, "idx" bigint NOT NULL, "from_frame" bigint NOT NULL, "to_frame" bigint NOT NULL, "layout" character varying NOT NULL, "paused" boolean NOT NULL DEFAULT false, "size_bytes" bigint NOT NULL DEFAULT 0, "spool_name" character varying NOT NULL DEFAULT '', "recording_id" character varying NOT NULL, "tenant_id" character varying NOT NULL, PRIMARY KEY ("id"), CONSTRAINT "segments_recordings_segments" FOREIGN KEY ("recording_id") REFERENCES "recordings" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION, CONSTRAINT "segments_tenants_tenant" FOREIGN KEY ("tenant_id") REFERENCES "tenants" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION);
-- create index "segment_recording_id" to table: "segments"
CREATE INDEX "segment_recording_id" ON "segments" ("recording_id");
-- create index "segment_tenant_id_recording_id_idx" to table: "segments"
CREATE UNIQUE INDEX "segment_tenant_id_recording_id_idx" ON "segments" ("tenant_id", "recording_id", "idx");
-- create "tags" table
CREATE TABLE "tags" ("id" character varying NOT NULL, "name" character varying NOT NULL, "started_at" timestamptz NOT NULL, "recording_id" character varying NOT NULL, "tenant_id" character varying NOT NULL, PRIMARY KEY ("id"), CONSTRAINT "tags_recordings_tag_rows" FOREIGN KEY ("recording_id") REFERENCES "recordings" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION, CONSTRAINT "tags_tenants_tenant" FOREIGN KEY ("tenant_id") REFERENCES "tenants" ("id") ON UPDATE NO ACTION ON DELETE NO ACTION);
-- create index "tag_recording_id" to table: "tags"
CREATE INDEX "tag_recording_id" ON "tags" ("recording_id");
-- create index "tag_tenant_id_name_started_at_recording_id" to table: "tags"
CREATE INDEX "tag_tenant_id_name_started_at_recording_id" ON "tags" ("tenant_id", "name", "started_at", "recording_id");
-- create index "tag_tenant_id_recording_id_name" to table: "tags"
CREATE UNIQUE INDEX "tag_tenant_id_recording_id_name" ON "tags" ("tenant_id", "recording_id", "name");

-- +goose Down
-- reverse: create index "tag_tenant_id_recording_id_name" to table: "tags"
DROP INDEX "tag_tenant_id_recording_id_name";
-- reverse: create index "tag_tenant_id_name_started_at_recording_id" to table: "tags"
DROP INDEX "tag_tenant_id_name_started_at_recording_id";
-- reverse: create index "tag_recording_id" to table: "tags"
DROP INDEX "tag_recording_id";
-- reverse: create "tags" table
DROP TABLE "tags";
-- reverse: create index "segment_tenant_id_recording_id_idx" to table: "segments"
DROP INDEX "segment_tenant_id_recording_id_idx";
-- reverse: create index "segment_recording_id" to table: "segments"
DROP INDEX "segment_recording_id";
-- reverse: create "segments" table
DROP TABLE "segments";
-- reverse: create index "qalink_tenant_id_external_system_external_id" to table: "qa_links"
DROP INDEX "qalink_tenant_id_external_system_external_id";
-- reverse: create index "qalink_recording_id" to table: "qa_links"
DROP INDEX "qalink_recording_id";
-- reverse: create "qa_links" table
DROP TABLE "qa_links";
-- reverse: create index "grant_tenant_id_recording_id_issued_at" to table: "grants"
DROP INDEX "grant_tenant_id_recording_id_issued_at";
-- reverse: create index "grant_recording_id" to table: "grants"
DROP INDEX "grant_recording_id";
-- reverse: create index "grant_expires_at" to table: "grants"
DROP INDEX "grant_expires_at";
-- reverse: create "grants" table
DROP TABLE "grants";
-- reverse: create index "gap_tenant_id_recording_id_from_us" to table: "gaps"
DROP INDEX "gap_tenant_id_recording_id_from_us";
-- reverse: create index "gap_recording_id" to table: "gaps"
DROP INDEX "gap_recording_id";
-- reverse: create "gaps" table
DROP TABLE "gaps";
-- reverse: create index "track_tenant_id_recording_id_kind" to table: "tracks"
DROP INDEX "track_tenant_id_recording_id_kind";
-- reverse: create index "track_recording_id" to table: "tracks"
DROP INDEX "track_recording_id";
-- reverse: create "tracks" table
DROP TABLE "tracks";
-- reverse: create index "datakey_tenant_id_recording_id" to table: "data_keys"
DROP INDEX "datakey_tenant_id_recording_id";
-- reverse: create index "data_keys_recording_id_key" to table: "data_keys"
DROP INDEX "data_keys_recording_id_key";
-- reverse: create "data_keys" table
DROP TABLE "data_keys";
-- reverse: create index "storedcopy_tenant_id_target_object_key" to table: "copies"
DROP INDEX "storedcopy_tenant_id_target_object_key";
-- reverse: create index "storedcopy_tenant_id_recording_id_role" to table: "copies"
DROP INDEX "storedcopy_tenant_id_recording_id_role";
-- reverse: create index "storedcopy_recording_id" to table: "copies"
DROP INDEX "storedcopy_recording_id";
-- reverse: create "copies" table
DROP TABLE "copies";
-- reverse: create index "comment_tenant_id_recording_id_at_us_id" to table: "comments"
DROP INDEX "comment_tenant_id_recording_id_at_us_id";
-- reverse: create index "comment_tenant_id_created_at_id" to table: "comments"
DROP INDEX "comment_tenant_id_created_at_id";
-- reverse: create index "comment_recording_id_at_us" to table: "comments"
DROP INDEX "comment_recording_id_at_us";
-- reverse: create index "comment_bookmark_id" to table: "comments"
DROP INDEX "comment_bookmark_id";
-- reverse: create "comments" table
DROP TABLE "comments";
-- reverse: create index "bookmark_tenant_id_recording_id_at_us_id" to table: "bookmarks"
DROP INDEX "bookmark_tenant_id_recording_id_at_us_id";
-- reverse: create index "bookmark_recording_id_at_us" to table: "bookmarks"
DROP INDEX "bookmark_recording_id_at_us";
-- reverse: create "bookmarks" table
DROP TABLE "bookmarks";
-- reverse: create index "recording_tenant_id_started_at_id" to table: "recordings"
DROP INDEX "recording_tenant_id_started_at_id";
-- reverse: create index "recording_tenant_id_size_bytes_id" to table: "recordings"
DROP INDEX "recording_tenant_id_size_bytes_id";
-- reverse: create index "recording_tenant_id_session_type_started_at_id" to table: "recordings"
DROP INDEX "recording_tenant_id_session_type_started_at_id";
-- reverse: create index "recording_tenant_id_session_id" to table: "recordings"
DROP INDEX "recording_tenant_id_session_id";
-- reverse: create index "recording_tenant_id_queue_id_started_at_id" to table: "recordings"
DROP INDEX "recording_tenant_id_queue_id_started_at_id";
-- reverse: create index "recording_tenant_id_qa_score_sort_id" to table: "recordings"
DROP INDEX "recording_tenant_id_qa_score_sort_id";
-- reverse: create index "recording_tenant_id_duration_us_id" to table: "recordings"
DROP INDEX "recording_tenant_id_duration_us_id";
-- reverse: create index "recording_tenant_id_customer_id_started_at_id" to table: "recordings"
DROP INDEX "recording_tenant_id_customer_id_started_at_id";
-- reverse: create index "recording_tenant_id_created_at_id" to table: "recordings"
DROP INDEX "recording_tenant_id_created_at_id";
-- reverse: create index "recording_tenant_id_client_started_at_id" to table: "recordings"
DROP INDEX "recording_tenant_id_client_started_at_id";
-- reverse: create index "recording_tenant_id_capture_started_at_id" to table: "recordings"
DROP INDEX "recording_tenant_id_capture_started_at_id";
-- reverse: create index "recording_tenant_id_agent_id_started_at_id" to table: "recordings"
DROP INDEX "recording_tenant_id_agent_id_started_at_id";
-- reverse: create index "recording_node_capture" to table: "recordings"
DROP INDEX "recording_node_capture";
-- reverse: create index "recording_disposition_expires_at" to table: "recordings"
DROP INDEX "recording_disposition_expires_at";
-- reverse: create "recordings" table
DROP TABLE "recordings";
-- reverse: create index "session_tenant_id_started_at_id" to table: "sessions"
DROP INDEX "session_tenant_id_started_at_id";
-- reverse: create index "session_tenant_id_external_id" to table: "sessions"
DROP INDEX "session_tenant_id_external_id";
-- reverse: create index "session_tenant_id_customer_id_started_at" to table: "sessions"
DROP INDEX "session_tenant_id_customer_id_started_at";
-- reverse: create "sessions" table
DROP TABLE "sessions";
-- reverse: create index "queue_tenant_id_name" to table: "queues"
DROP INDEX "queue_tenant_id_name";
-- reverse: create "queues" table
DROP TABLE "queues";
-- reverse: create index "auditevent_tenant_id_seq" to table: "audit_events"
DROP INDEX "auditevent_tenant_id_seq";
-- reverse: create index "auditevent_tenant_id_object_seq" to table: "audit_events"
DROP INDEX "auditevent_tenant_id_object_seq";
-- reverse: create index "auditevent_tenant_id_at_id" to table: "audit_events"
DROP INDEX "auditevent_tenant_id_at_id";
-- reverse: create index "auditevent_tenant_id_action_seq" to table: "audit_events"
DROP INDEX "auditevent_tenant_id_action_seq";
-- reverse: create "audit_events" table
DROP TABLE "audit_events";
-- reverse: create index "apikey_tenant_id_created_at" to table: "api_keys"
DROP INDEX "apikey_tenant_id_created_at";
-- reverse: create "api_keys" table
DROP TABLE "api_keys";
-- reverse: create index "agent_tenant_id_external_id" to table: "agents"
DROP INDEX "agent_tenant_id_external_id";
-- reverse: create "agents" table
DROP TABLE "agents";
-- reverse: create index "tenants_slug_key" to table: "tenants"
DROP INDEX "tenants_slug_key";
-- reverse: create index "tenants_name_key" to table: "tenants"
DROP INDEX "tenants_name_key";
-- reverse: create "tenants" table
DROP TABLE "tenants";
