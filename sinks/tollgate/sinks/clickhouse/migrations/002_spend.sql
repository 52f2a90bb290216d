-- The worker's own sums, to be compared with those of `usage`.
-- A scope and window live in one partition of the topic for ever, so the offset orders their versions exactly; a clock
-- would not, because two workers' clocks differ.
CREATE TABLE IF NOT EXISTS spend_records
(
    scope String COMMENT 'Whose spend: global, or dimension/name such as user/u-42, agent/SEO, service/chat',
    window LowCardinality(String) COMMENT 'Kind of the window: hour, day, month or lifetime',
    window_start DateTime64(3, 'UTC') COMMENT 'First instant of the window; 1970-01-01 for lifetime',
    window_end DateTime64(3, 'UTC') COMMENT 'First instant after the window; far in the future for lifetime',
    timezone LowCardinality(String) COMMENT 'Time zone whose calendar the window follows',
    spent_usd Decimal(38, 12) COMMENT 'Sum of costs of the scope in the window in USD, as the worker counts it',
    retail_usd Decimal(38, 12) COMMENT 'Sum of what users were charged in USD',
    usage Map(LowCardinality(String), Decimal(38, 9)) COMMENT 'Sums of usage by dimension',
    events Int64 COMMENT 'How many events were counted',
    updated_at DateTime64(3, 'UTC') COMMENT 'When the worker last changed the sum',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was written to ClickHouse'
)
ENGINE = ReplacingMergeTree(source_offset)
PARTITION BY toYYYYMM(window_start)
ORDER BY (window, window_start, scope, timezone)
COMMENT 'Storage of spend; may hold older sums until they are merged. Query the view spend instead';

CREATE VIEW IF NOT EXISTS spend
(
    scope String COMMENT 'Whose spend: global, or dimension/name such as user/u-42, agent/SEO, service/chat',
    window LowCardinality(String) COMMENT 'Kind of the window: hour, day, month or lifetime',
    window_start DateTime64(3, 'UTC') COMMENT 'First instant of the window; 1970-01-01 for lifetime',
    window_end DateTime64(3, 'UTC') COMMENT 'First instant after the window; far in the future for lifetime',
    timezone LowCardinality(String) COMMENT 'Time zone whose calendar the window follows',
    spent_usd Decimal(38, 12) COMMENT 'Sum of costs of the scope in the window in USD, as the worker counts it',
    retail_usd Decimal(38, 12) COMMENT 'Sum of what users were charged in USD',
    usage Map(LowCardinality(String), Decimal(38, 9)) COMMENT 'Sums of usage by dimension',
    events Int64 COMMENT 'How many events were counted',
    updated_at DateTime64(3, 'UTC') COMMENT 'When the worker last changed the sum',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    scope, window, window_start, window_end, timezone, spent_usd, retail_usd, usage, events, updated_at,
    source_partition, source_offset, ingested_at
FROM spend_records FINAL
COMMENT 'The worker\'s own sums: one row per scope and window, the latest';
