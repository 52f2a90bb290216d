-- Says of `price_status` that it may be `estimated`, in the table and in the view.
ALTER TABLE usage_events COMMENT COLUMN price_status 'priced, estimated (the dearest reading of an event that leaves something open), reported (cost came with the event), free, unpriced (price unknown, an estimate stands in) or corrected';

ALTER TABLE usage COMMENT COLUMN price_status 'priced, estimated (the dearest reading of an event that leaves something open), reported (cost came with the event), free, unpriced (price unknown, an estimate stands in) or corrected';
