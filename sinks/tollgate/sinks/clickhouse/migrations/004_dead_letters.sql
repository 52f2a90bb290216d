-- Refused records with their bytes and the reason.
CREATE TABLE IF NOT EXISTS dead_letter_records
(
    time DateTime64(3, 'UTC') COMMENT 'When the record was refused',
    reason LowCardinality(String) COMMENT 'Why, in one word: not_json, missing_field, negative_usage, …; sink_rejected when ClickHouse refused a row',
    error String COMMENT 'Why, in one sentence, with the path of the field',
    source_topic LowCardinality(String) COMMENT 'Topic the refused record came from',
    source_partition Int32 COMMENT 'Partition the refused record came from',
    source_offset Int64 COMMENT 'Offset of the refused record in its partition',
    key String COMMENT 'Original key, bytes as they came',
    value String COMMENT 'Original value, bytes as they came',
    headers String COMMENT 'Original CloudEvents headers, a JSON object',
    dead_letter_partition Int32 COMMENT 'Partition in the dead-letters topic; -1 when the ClickHouse sink refused the record itself',
    dead_letter_offset Int64 COMMENT 'Offset in the dead-letters topic; -1 when the ClickHouse sink refused the record itself',
    ingested_at DateTime64(3, 'UTC') DEFAULT now64(3) COMMENT 'When this row was written to ClickHouse'
)
ENGINE = ReplacingMergeTree
PARTITION BY toYYYYMM(time)
ORDER BY (toDate(time), reason, dead_letter_partition, dead_letter_offset, source_topic, source_partition, source_offset)
COMMENT 'Storage of dead letters; may hold repeats until they are merged. Query dead_letters instead';

CREATE VIEW IF NOT EXISTS dead_letters
(
    time DateTime64(3, 'UTC') COMMENT 'When the record was refused',
    reason LowCardinality(String) COMMENT 'Why, in one word: not_json, missing_field, negative_usage, …; sink_rejected when ClickHouse refused a row',
    error String COMMENT 'Why, in one sentence, with the path of the field',
    source_topic LowCardinality(String) COMMENT 'Topic the refused record came from',
    source_partition Int32 COMMENT 'Partition the refused record came from',
    source_offset Int64 COMMENT 'Offset of the refused record in its partition',
    key String COMMENT 'Original key, bytes as they came',
    value String COMMENT 'Original value, bytes as they came',
    headers String COMMENT 'Original CloudEvents headers, a JSON object',
    dead_letter_partition Int32 COMMENT 'Partition in the dead-letters topic; -1 when the ClickHouse sink refused the record itself',
    dead_letter_offset Int64 COMMENT 'Offset in the dead-letters topic; -1 when the ClickHouse sink refused the record itself',
    ingested_at DateTime64(3, 'UTC') COMMENT 'When this row was written to ClickHouse'
)
AS SELECT
    time, reason, error, source_topic, source_partition, source_offset, key, value, headers,
    dead_letter_partition, dead_letter_offset, ingested_at
FROM dead_letter_records FINAL
COMMENT 'Refused records, one row each, with their bytes and the reason';
