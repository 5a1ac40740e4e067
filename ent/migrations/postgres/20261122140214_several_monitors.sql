-- +goose Up
-- drop index "track_tenant_id_recording_id_kind" from table: "tracks"
DROP INDEX "track_tenant_id_recording_id_kind";
-- create index "track_tenant_id_recording_id_kind" to table: "tracks"
CREATE INDEX "track_tenant_id_recording_id_kind" ON "tracks" ("tenant_id", "recording_id", "kind");

-- +goose Down
-- reverse: create index "track_tenant_id_recording_id_kind" to table: "tracks"
DROP INDEX "track_tenant_id_recording_id_kind";
-- reverse: drop index "track_tenant_id_recording_id_kind" from table: "tracks"
CREATE UNIQUE INDEX "track_tenant_id_recording_id_kind" ON "tracks" ("tenant_id", "recording_id", "kind");
