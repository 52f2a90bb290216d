-- Budgets and prices that were set at run time, with their history.
CREATE TABLE IF NOT EXISTS budget_records
(
    id String COMMENT 'Id of the budget',
    scope String COMMENT 'Whose spend is limited: global, dimension/name, or a pattern such as user/*',
    `limit` Decimal(38, 12) COMMENT 'The limit, in unit',
    unit LowCardinality(String) COMMENT 'usd, events, or a usage dimension',
    window LowCardinality(String) COMMENT 'hour, day, month or lifetime',
    timezone LowCardinality(String) COMMENT 'Time zone whose calendar the window follows',
    warning_percent Nullable(Decimal(38, 2)) COMMENT 'Percentage of the limit at which the level warning begins; null when it is not set',
    warning_action LowCardinality(String) COMMENT 'What happens at the level warning: alert, downgrade, block or stop',
    critical_percent Nullable(Decimal(38, 2)) COMMENT 'Percentage of the limit at which the level critical begins; null when it is not set',
    critical_action LowCardinality(String) COMMENT 'What happens at the level critical: alert, downgrade, block or stop',
    emergency_percent Nullable(Decimal(38, 2)) COMMENT 'Percentage of the limit at which the level emergency begins; null when it is not set',
    emergency_action LowCardinality(String) COMMENT 'What happens at the level emergency: alert, downgrade, block or stop',
    updated_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the budget was set',
    removed Bool COMMENT 'True when this record removes the budget',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was written to ClickHouse'
)
ENGINE = ReplacingMergeTree
ORDER BY (id, source_partition, source_offset)
COMMENT 'Every version of every budget, removals included; may hold repeats until they are merged';

CREATE VIEW IF NOT EXISTS budgets
(
    id String COMMENT 'Id of the budget',
    scope String COMMENT 'Whose spend is limited: global, dimension/name, or a pattern such as user/*',
    `limit` Decimal(38, 12) COMMENT 'The limit, in unit',
    unit LowCardinality(String) COMMENT 'usd, events, or a usage dimension',
    window LowCardinality(String) COMMENT 'hour, day, month or lifetime',
    timezone LowCardinality(String) COMMENT 'Time zone whose calendar the window follows',
    warning_percent Nullable(Decimal(38, 2)) COMMENT 'Percentage of the limit at which the level warning begins; null when it is not set',
    warning_action LowCardinality(String) COMMENT 'What happens at the level warning: alert, downgrade, block or stop',
    critical_percent Nullable(Decimal(38, 2)) COMMENT 'Percentage of the limit at which the level critical begins; null when it is not set',
    critical_action LowCardinality(String) COMMENT 'What happens at the level critical: alert, downgrade, block or stop',
    emergency_percent Nullable(Decimal(38, 2)) COMMENT 'Percentage of the limit at which the level emergency begins; null when it is not set',
    emergency_action LowCardinality(String) COMMENT 'What happens at the level emergency: alert, downgrade, block or stop',
    updated_at Nullable(DateTime64(3, 'UTC')) COMMENT 'When the budget was set',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    id, scope, `limit`, unit, window, timezone, warning_percent, warning_action, critical_percent,
    critical_action, emergency_percent, emergency_action, updated_at, source_partition, source_offset,
    ingested_at
FROM (SELECT * FROM budget_records ORDER BY source_offset DESC LIMIT 1 BY id)
WHERE NOT removed
COMMENT 'The budgets in force, one row each';

CREATE TABLE IF NOT EXISTS price_records
(
    id String COMMENT 'Id of the price, as in usage.price_id',
    provider LowCardinality(String) COMMENT 'Provider the price is for; empty for any',
    model LowCardinality(String) COMMENT 'Model the price is for; empty for any',
    agent LowCardinality(String) COMMENT 'Agent the price is for; empty for any',
    options Map(LowCardinality(String), String) COMMENT 'Options an event must have for this price',
    rates Array(Tuple(dimension String, usd Decimal(38, 12), per Decimal(38, 9))) COMMENT 'USD for so many units of each dimension: usd / per is the price of one unit',
    effective_from Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant at which the price holds',
    effective_to Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant at which it no longer holds; null when it is open',
    source String COMMENT 'Where the price comes from',
    removed Bool COMMENT 'True when this record removes the price',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was written to ClickHouse'
)
ENGINE = ReplacingMergeTree
ORDER BY (id, source_partition, source_offset)
COMMENT 'Every version of every price set at run time, removals included; may hold repeats until they are merged';

CREATE VIEW IF NOT EXISTS prices
(
    id String COMMENT 'Id of the price, as in usage.price_id',
    provider LowCardinality(String) COMMENT 'Provider the price is for; empty for any',
    model LowCardinality(String) COMMENT 'Model the price is for; empty for any',
    agent LowCardinality(String) COMMENT 'Agent the price is for; empty for any',
    options Map(LowCardinality(String), String) COMMENT 'Options an event must have for this price',
    rates Array(Tuple(dimension String, usd Decimal(38, 12), per Decimal(38, 9))) COMMENT 'USD for so many units of each dimension: usd / per is the price of one unit',
    effective_from Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant at which the price holds',
    effective_to Nullable(DateTime64(3, 'UTC')) COMMENT 'First instant at which it no longer holds; null when it is open',
    source String COMMENT 'Where the price comes from',
    source_partition Int32 COMMENT 'Partition of the record in its Kafka topic',
    source_offset Int64 COMMENT 'Offset of the record in its partition; a higher one is newer for the same key',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    id, provider, model, agent, options, rates, effective_from, effective_to, source, source_partition,
    source_offset, ingested_at
FROM (SELECT * FROM price_records ORDER BY source_offset DESC LIMIT 1 BY id)
WHERE NOT removed
COMMENT 'The prices set at run time that are in force, one row each; the shipped price book is not here';
