-- +goose Up
-- modify "queues" table
ALTER TABLE "queues" ADD COLUMN "reconnect_seconds" bigint NOT NULL DEFAULT 300;
-- modify "tracks" table
ALTER TABLE "tracks" ADD COLUMN "dropped_unauthentic" bigint NOT NULL DEFAULT 0, ADD COLUMN "dropped_held" bigint NOT NULL DEFAULT 0, ADD COLUMN "dropped_by_kernel" bigint NOT NULL DEFAULT 0, ADD COLUMN "nacked" bigint NOT NULL DEFAULT 0, ADD COLUMN "repaired" bigint NOT NULL DEFAULT 0;

-- +goose Down
-- reverse: modify "tracks" table
ALTER TABLE "tracks" DROP COLUMN "repaired", DROP COLUMN "nacked", DROP COLUMN "dropped_by_kernel", DROP COLUMN "dropped_held", DROP COLUMN "dropped_unauthentic";
-- reverse: modify "queues" table
ALTER TABLE "queues" DROP COLUMN "reconnect_seconds";
