-- Decisions and alerts: every revision is kept, so that one can see what was blocked, when and why.
CREATE TABLE IF NOT EXISTS flag_records
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
    revision Int64 COMMENT 'Counts the changes of the scope\'s flag',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was written to ClickHouse'
)
ENGINE = ReplacingMergeTree
ORDER BY (scope, source_partition, source_offset)
COMMENT 'Storage of flags; may hold repeats until they are merged. Query flags or flags_current instead';

CREATE VIEW IF NOT EXISTS flags
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
    revision Int64 COMMENT 'Counts the changes of the scope\'s flag',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    scope, state, blocked, action, reason, budget, window, window_start, window_end, timezone, `limit`,
    unit, spent, percent, since, until, revision, source_partition, source_offset, ingested_at
FROM flag_records FINAL
COMMENT 'Every revision of every flag: the history of warnings and blocks';

CREATE VIEW IF NOT EXISTS flags_current
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
    revision Int64 COMMENT 'Counts the changes of the scope\'s flag',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse',
    in_force Bool COMMENT 'True while the state is not ok and until has not passed'
)
AS SELECT
    scope, state, blocked, action, reason, budget, window, window_start, window_end, timezone, `limit`,
    unit, spent, percent, since, until, revision, source_partition, source_offset, ingested_at,
    state != 'ok' AND (until IS NULL OR until > now64(3)) AS in_force
FROM (SELECT * FROM flag_records ORDER BY source_offset DESC LIMIT 1 BY scope)
COMMENT 'The latest flag of each scope';

CREATE TABLE IF NOT EXISTS alert_records
(
    key String COMMENT 'Identity of the alert: one problem in one window',
    kind LowCardinality(String) COMMENT 'budget or unpriced',
    level LowCardinality(String) COMMENT 'warning, critical, emergency or resolved',
    scope String COMMENT 'The scope concerned',
    budget String COMMENT 'Id of the budget; empty for an unpriced model',
    window LowCardinality(String) COMMENT 'Kind of the budget\'s window: hour, day, month or lifetime; empty when there is none',
    window_start Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant of the window',
    window_end Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant after the window',
    timezone LowCardinality(String) COMMENT 'Time zone whose calendar the window follows',
    `limit` Decimal(38, 12) COMMENT 'The budget\'s limit, in unit',
    unit LowCardinality(String) COMMENT 'usd, events, or a usage dimension',
    spent Decimal(38, 12) COMMENT 'What was spent in the window, in unit',
    percent Nullable(Decimal(38, 2)) COMMENT 'Spent as a percentage of the limit',
    state LowCardinality(String) COMMENT 'State of the scope\'s flag',
    action LowCardinality(String) COMMENT 'What services do: alert, downgrade, block or stop; empty for none',
    reason String COMMENT 'Why, in one sentence',
    provider LowCardinality(String) COMMENT 'Provider without a known price; empty for other alerts',
    model LowCardinality(String) COMMENT 'Model without a known price; empty for other alerts',
    peak_level LowCardinality(String) COMMENT 'Highest level so far',
    peak_percent Nullable(Decimal(38, 2)) COMMENT 'Highest percentage so far',
    since Nullable(DateTime64(3, 'UTC')) COMMENT 'When the alert first fired',
    updated_at DateTime64(3, 'UTC') COMMENT 'When the worker wrote this revision',
    revision Int64 COMMENT 'Counts the records of this alert',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was written to ClickHouse'
)
ENGINE = ReplacingMergeTree
ORDER BY (key, source_partition, source_offset)
COMMENT 'Storage of alerts; may hold repeats until they are merged. Query alerts or alerts_current instead';

CREATE VIEW IF NOT EXISTS alerts
(
    key String COMMENT 'Identity of the alert: one problem in one window',
    kind LowCardinality(String) COMMENT 'budget or unpriced',
    level LowCardinality(String) COMMENT 'warning, critical, emergency or resolved',
    scope String COMMENT 'The scope concerned',
    budget String COMMENT 'Id of the budget; empty for an unpriced model',
    window LowCardinality(String) COMMENT 'Kind of the budget\'s window: hour, day, month or lifetime; empty when there is none',
    window_start Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant of the window',
    window_end Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant after the window',
    timezone LowCardinality(String) COMMENT 'Time zone whose calendar the window follows',
    `limit` Decimal(38, 12) COMMENT 'The budget\'s limit, in unit',
    unit LowCardinality(String) COMMENT 'usd, events, or a usage dimension',
    spent Decimal(38, 12) COMMENT 'What was spent in the window, in unit',
    percent Nullable(Decimal(38, 2)) COMMENT 'Spent as a percentage of the limit',
    state LowCardinality(String) COMMENT 'State of the scope\'s flag',
    action LowCardinality(String) COMMENT 'What services do: alert, downgrade, block or stop; empty for none',
    reason String COMMENT 'Why, in one sentence',
    provider LowCardinality(String) COMMENT 'Provider without a known price; empty for other alerts',
    model LowCardinality(String) COMMENT 'Model without a known price; empty for other alerts',
    peak_level LowCardinality(String) COMMENT 'Highest level so far',
    peak_percent Nullable(Decimal(38, 2)) COMMENT 'Highest percentage so far',
    since Nullable(DateTime64(3, 'UTC')) COMMENT 'When the alert first fired',
    updated_at DateTime64(3, 'UTC') COMMENT 'When the worker wrote this revision',
    revision Int64 COMMENT 'Counts the records of this alert',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    key, kind, level, scope, budget, window, window_start, window_end, timezone, `limit`, unit, spent,
    percent, state, action, reason, provider, model, peak_level, peak_percent, since, updated_at,
    revision, source_partition, source_offset, ingested_at
FROM alert_records FINAL
COMMENT 'Every revision of every alert';

CREATE VIEW IF NOT EXISTS alerts_current
(
    key String COMMENT 'Identity of the alert: one problem in one window',
    kind LowCardinality(String) COMMENT 'budget or unpriced',
    level LowCardinality(String) COMMENT 'warning, critical, emergency or resolved',
    scope String COMMENT 'The scope concerned',
    budget String COMMENT 'Id of the budget; empty for an unpriced model',
    window LowCardinality(String) COMMENT 'Kind of the budget\'s window: hour, day, month or lifetime; empty when there is none',
    window_start Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant of the window',
    window_end Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant after the window',
    timezone LowCardinality(String) COMMENT 'Time zone whose calendar the window follows',
    `limit` Decimal(38, 12) COMMENT 'The budget\'s limit, in unit',
    unit LowCardinality(String) COMMENT 'usd, events, or a usage dimension',
    spent Decimal(38, 12) COMMENT 'What was spent in the window, in unit',
    percent Nullable(Decimal(38, 2)) COMMENT 'Spent as a percentage of the limit',
    state LowCardinality(String) COMMENT 'State of the scope\'s flag',
    action LowCardinality(String) COMMENT 'What services do: alert, downgrade, block or stop; empty for none',
    reason String COMMENT 'Why, in one sentence',
    provider LowCardinality(String) COMMENT 'Provider without a known price; empty for other alerts',
    model LowCardinality(String) COMMENT 'Model without a known price; empty for other alerts',
    peak_level LowCardinality(String) COMMENT 'Highest level so far',
    peak_percent Nullable(Decimal(38, 2)) COMMENT 'Highest percentage so far',
    since Nullable(DateTime64(3, 'UTC')) COMMENT 'When the alert first fired',
    updated_at DateTime64(3, 'UTC') COMMENT 'When the worker wrote this revision',
    revision Int64 COMMENT 'Counts the records of this alert',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    key, kind, level, scope, budget, window, window_start, window_end, timezone, `limit`, unit, spent,
    percent, state, action, reason, provider, model, peak_level, peak_percent, since, updated_at,
    revision, source_partition, source_offset, ingested_at
FROM (SELECT * FROM alert_records ORDER BY source_offset DESC LIMIT 1 BY key)
COMMENT 'The latest revision of each alert';
