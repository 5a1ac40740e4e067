-- +goose Up
-- add column "reconnect_seconds" to table: "queues"
ALTER TABLE `queues` ADD COLUMN `reconnect_seconds` integer NOT NULL DEFAULT (300);
-- add columns to table: "tracks"
ALTER TABLE `tracks` ADD COLUMN `dropped_unauthentic` integer NOT NULL DEFAULT (0);
ALTER TABLE `tracks` ADD COLUMN `dropped_held` integer NOT NULL DEFAULT (0);
ALTER TABLE `tracks` ADD COLUMN `dropped_by_kernel` integer NOT NULL DEFAULT (0);
ALTER TABLE `tracks` ADD COLUMN `nacked` integer NOT NULL DEFAULT (0);
ALTER TABLE `tracks` ADD COLUMN `repaired` integer NOT NULL DEFAULT (0);

-- +goose Down
ALTER TABLE `tracks` DROP COLUMN `repaired`;
ALTER TABLE `tracks` DROP COLUMN `nacked`;
ALTER TABLE `tracks` DROP COLUMN `dropped_by_kernel`;
ALTER TABLE `tracks` DROP COLUMN `dropped_held`;
ALTER TABLE `tracks` DROP COLUMN `dropped_unauthentic`;
ALTER TABLE `queues` DROP COLUMN `reconnect_seconds`;
