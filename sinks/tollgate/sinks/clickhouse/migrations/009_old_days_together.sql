-- Days of the past share partitions of `usage_events`; days since 2026 have one each, as before.
-- An event may be of any day since 1970, and an insert writes a part for every partition that it touches. 20,000 events of
-- 20,000 days made 20,000 parts. Now there are at most 50 years, 72 months and the days since 2026. The partition follows
-- from the event's time alone, which never changes, so that every repeat of a row is in the partition of its original.
--
-- Rows are copied while sinks go on writing into the old table; after the new name, what came meanwhile is copied too.
-- A row that is copied twice is a repeat, which the view never shows. So any statement may be repeated after a crash.

-- only if: SELECT partition_key = 'toDate(time)' FROM system.tables WHERE database = currentDatabase() AND name = 'usage_events'
CREATE TABLE IF NOT EXISTS usage_events_by_age AS usage_events
ENGINE = ReplacingMergeTree(version)
PARTITION BY multiIf(time >= toDateTime64('2026-01-01 00:00:00', 3, 'UTC'), toDate(time), time >= toDateTime64('2020-01-01 00:00:00', 3, 'UTC'), toStartOfMonth(time), toStartOfYear(time))
ORDER BY (user, toDate(time), event_id, source, source_partition, source_offset)
SETTINGS min_age_to_force_merge_seconds = 600, min_age_to_force_merge_on_partition_only = 1
COMMENT 'Storage of counted usage events; may hold repeats until they are merged. Query the view usage instead';

-- When the copy began. Without a row, after a crash, everything is copied a second time.
-- only if: SELECT partition_key = 'toDate(time)' FROM system.tables WHERE database = currentDatabase() AND name = 'usage_events'
CREATE TABLE IF NOT EXISTS usage_events_copy
(
    began_at DateTime64(3, 'UTC') COMMENT 'When the copy began, by the server\'s clock'
)
ENGINE = MergeTree ORDER BY began_at
COMMENT 'Exists only while usage_events is copied to other partitions';

-- only if: SELECT (SELECT partition_key = 'toDate(time)' FROM system.tables WHERE database = currentDatabase() AND name = 'usage_events') AND (SELECT total_rows = 0 FROM system.tables WHERE database = currentDatabase() AND name = 'usage_events_copy')
INSERT INTO usage_events_copy SELECT now64(3);

-- only if: SELECT partition_key = 'toDate(time)' FROM system.tables WHERE database = currentDatabase() AND name = 'usage_events'
INSERT INTO usage_events_by_age SELECT * FROM usage_events SETTINGS max_partitions_per_insert_block = 0;

-- Both names are locked together, so that nobody finds or makes a table of this name in between.
-- only if: SELECT partition_key = 'toDate(time)' FROM system.tables WHERE database = currentDatabase() AND name = 'usage_events'
RENAME TABLE usage_events TO usage_events_by_day, usage_events_by_age TO usage_events;

-- A server that crashed between the two.
-- only if: SELECT countIf(name = 'usage_events') = 0 FROM system.tables WHERE database = currentDatabase()
RENAME TABLE usage_events_by_age TO usage_events;

-- An insert that was under way at the renaming ends in the old table. A sink of an older release waits for the answer
-- 30 seconds at most and then repeats it, so what comes later than that is in the new table as well.
-- only if: SELECT total_rows > 0 FROM system.tables WHERE database = currentDatabase() AND name = 'usage_events_by_day'
SELECT sum(sleepEachRow(1)) FROM numbers(35) SETTINGS max_block_size = 1;

-- Rows get their `ingested_at` when their insert begins, up to some minutes before they can be seen.
-- only if: SELECT count() = 2 FROM system.tables WHERE database = currentDatabase() AND name IN ('usage_events_by_day', 'usage_events_copy')
INSERT INTO usage_events SELECT * FROM usage_events_by_day
WHERE ingested_at >= (SELECT min(began_at) FROM usage_events_copy) - toIntervalMinute(15)
SETTINGS max_partitions_per_insert_block = 0;

DROP TABLE IF EXISTS usage_events_by_day SETTINGS max_table_size_to_drop = 0;

DROP TABLE IF EXISTS usage_events_copy;

-- Two processes that migrate at once may have made it twice.
DROP TABLE IF EXISTS usage_events_by_age;
