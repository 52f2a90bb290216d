-- The audit's word for credits that a person granted.
ALTER TABLE audit_records COMMENT COLUMN kind 'What was changed: budget, price, plan, assignment, token, setting; or credit, for credits that a person granted';

ALTER TABLE audit COMMENT COLUMN kind 'What was changed: budget, price, plan, assignment, token, setting; or credit, for credits that a person granted';
