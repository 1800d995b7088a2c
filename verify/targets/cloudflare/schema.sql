CREATE TABLE job_status (id TEXT PRIMARY KEY, type TEXT NOT NULL, status TEXT NOT NULL, user_id TEXT NOT NULL, payload JSON, result JSON, error TEXT, retry_count INTEGER DEFAULT 0, created_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, updated_at TIMESTAMP DEFAULT CURRENT_TIMESTAMP, completed_at TIMESTAMP);
CREATE TABLE dead_letters (queue TEXT NOT NULL, job TEXT NOT NULL, payload JSON);
CREATE TABLE idempotency_keys (user_id TEXT NOT NULL, key TEXT NOT NULL, job TEXT NOT NULL, PRIMARY KEY (user_id, key));
