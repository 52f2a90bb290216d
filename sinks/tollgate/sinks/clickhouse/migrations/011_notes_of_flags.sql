-- What a flag of a stop by hand says of itself, and every kind of alert by its name.
ALTER TABLE flag_records
    ADD COLUMN IF NOT EXISTS note String COMMENT 'Who stopped all spending by hand and why, in one sentence; empty for other flags';

CREATE OR REPLACE VIEW flags
(
    scope String COMMENT 'The scope the decision is for, for example user/u-42',
    state LowCardinality(String) COMMENT 'ok, warning, blocked or stopped',
    blocked Bool COMMENT 'True for blocked and stopped',
    action LowCardinality(String) COMMENT 'What services do: alert, downgrade, block or stop; empty for none',
    reason LowCardinality(String) COMMENT 'Why, for example usage_limit_exceeded',
    budget String COMMENT 'Id of the budget that decided',
    window LowCardinality(String) COMMENT 'Kind of the budget\'s window: hour, day, month or lifetime; empty when there is none',
    window_start Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant of the window',
    window_end Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant after the window',
    timezone LowCardinality(String) COMMENT 'Time zone whose calendar the window follows',
    `limit` Decimal(38, 12) COMMENT 'The budget\'s limit, in unit',
    unit LowCardinality(String) COMMENT 'usd, events, or a usage dimension',
    spent Decimal(38, 12) COMMENT 'What was spent in the window, in unit',
    percent Nullable(Decimal(38, 2)) COMMENT 'Spent as a percentage of the limit',
    since Nullable(DateTime64(3, 'UTC')) COMMENT 'Since when the state has held',
    until Nullable(DateTime64(3, 'UTC')) COMMENT 'From this instant on the flag no longer holds',
    note String COMMENT 'Who stopped all spending by hand and why, in one sentence; empty for other flags',
    revision Int64 COMMENT 'Counts the changes of the scope\'s flag',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    scope, state, blocked, action, reason, budget, window, window_start, window_end, timezone, `limit`,
    unit, spent, percent, since, until, note, revision, source_partition, source_offset, ingested_at
FROM flag_records FINAL
COMMENT 'Every revision of every flag: the history of warnings and blocks';

CREATE OR REPLACE VIEW flags_current
(
    scope String COMMENT 'The scope the decision is for, for example user/u-42',
    state LowCardinality(String) COMMENT 'ok, warning, blocked or stopped',
    blocked Bool COMMENT 'True for blocked and stopped',
    action LowCardinality(String) COMMENT 'What services do: alert, downgrade, block or stop; empty for none',
    reason LowCardinality(String) COMMENT 'Why, for example usage_limit_exceeded',
    budget String COMMENT 'Id of the budget that decided',
    window LowCardinality(String) COMMENT 'Kind of the budget\'s window: hour, day, month or lifetime; empty when there is none',
    window_start Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant of the window',
    window_end Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant after the window',
    timezone LowCardinality(String) COMMENT 'Time zone whose calendar the window follows',
    `limit` Decimal(38, 12) COMMENT 'The budget\'s limit, in unit',
    unit LowCardinality(String) COMMENT 'usd, events, or a usage dimension',
    spent Decimal(38, 12) COMMENT 'What was spent in the window, in unit',
    percent Nullable(Decimal(38, 2)) COMMENT 'Spent as a percentage of the limit',
    since Nullable(DateTime64(3, 'UTC')) COMMENT 'Since when the state has held',
    until Nullable(DateTime64(3, 'UTC')) COMMENT 'From this instant on the flag no longer holds',
    note String COMMENT 'Who stopped all spending by hand and why, in one sentence; empty for other flags',
    revision Int64 COMMENT 'Counts the changes of the scope\'s flag',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse',
    in_force Bool COMMENT 'True while the state is not ok and until has not passed'
)
AS SELECT
    scope, state, blocked, action, reason, budget, window, window_start, window_end, timezone, `limit`,
    unit, spent, percent, since, until, note, revision, source_partition, source_offset, ingested_at,
    state != 'ok' AND (until IS NULL OR until > now64(3)) AS in_force
FROM (SELECT * FROM flag_records ORDER BY source_offset DESC LIMIT 1 BY scope)
COMMENT 'The latest flag of each scope';

ALTER TABLE alert_records COMMENT COLUMN kind 'budget, unpriced (a model without a known price), clock (a broker whose time is ahead), poison (a record that was put aside uncounted) or stop (all spending was stopped by hand)';

ALTER TABLE alerts COMMENT COLUMN kind 'budget, unpriced (a model without a known price), clock (a broker whose time is ahead), poison (a record that was put aside uncounted) or stop (all spending was stopped by hand)';

ALTER TABLE alerts_current COMMENT COLUMN kind 'budget, unpriced (a model without a known price), clock (a broker whose time is ahead), poison (a record that was put aside uncounted) or stop (all spending was stopped by hand)';
