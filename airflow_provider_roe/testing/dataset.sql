-- What an accounts team could have after its documents went through Roe: the files, the invoices read from them,
-- and the product reviews that were classified.

CREATE TABLE documents (
    id INTEGER NOT NULL PRIMARY KEY,
    file_name TEXT NOT NULL,
    kind TEXT NOT NULL,
    language TEXT NOT NULL,
    pages INTEGER NOT NULL,
    uploaded_at TEXT NOT NULL,
    summary TEXT
);

INSERT INTO documents VALUES
    (1, 'acme-2025-0117.pdf', 'invoice', 'en', 1, '2025-01-17 09:12:44', 'Hosting for January'),
    (2, 'acme-2025-0214.pdf', 'invoice', 'en', 1, '2025-02-14 09:10:03', 'Hosting for February'),
    (3, 'nordwind-8841.pdf', 'invoice', 'de', 2, '2025-02-20 14:35:10', 'Six pallets of packaging'),
    (4, 'nordwind-8902.pdf', 'invoice', 'de', 2, '2025-03-21 11:02:57', 'Four pallets of packaging'),
    (5, 'lumiere-f-204.pdf', 'invoice', 'fr', 1, '2025-03-25 08:41:30', 'Lamps for the Lyon office'),
    (6, 'scan-0042.tiff', 'invoice', 'en', 1, '2025-04-02 16:20:00', NULL),
    (7, 'kestrel-air-77.pdf', 'invoice', 'en', 3, '2025-04-08 10:00:12', 'Freight from Rotterdam to Boston'),
    (8, 'kestrel-air-81.pdf', 'invoice', 'en', 3, '2025-05-09 10:00:48', 'Freight from Rotterdam to Oslo'),
    (9, 'tanaka-kk-31.pdf', 'invoice', 'ja', 1, '2025-05-12 02:15:36', 'Calibration of two sensors'),
    (10, 'olive-and-co-9.pdf', 'invoice', 'en', 1, '2025-06-01 12:30:00', 'Catering for the summer meeting'),
    (11, 'office-lease.docx', 'contract', 'en', 24, '2025-01-05 15:00:00', 'Lease until 2029, notice of six months'),
    (12, 'msa-acme.pdf', 'contract', 'en', 18, '2025-01-09 09:45:21', 'Hosting agreement, renewed each year'),
    (13, 'rahmenvertrag-nordwind.pdf', 'contract', 'de', 11, '2025-02-01 13:05:09', 'Prices fixed until the end of 2026'),
    (14, 'nda-kestrel.pdf', 'contract', 'en', 4, '2025-03-30 17:22:18', 'Mutual, three years'),
    (15, 'claim-photo-1.jpg', 'image', 'en', 1, '2025-04-11 07:55:42', 'Dented crate, lower left corner'),
    (16, 'claim-photo-2.jpg', 'image', 'en', 1, '2025-04-11 07:56:10', 'Torn label, number not legible'),
    (17, 'board-call-q1.mp3', 'audio', 'en', 1, '2025-04-15 18:00:00', 'Revenue up, freight costs a concern'),
    (18, 'empty.pdf', 'unknown', 'en', 0, '2025-06-03 20:11:05', NULL);

CREATE TABLE invoices (
    number TEXT NOT NULL PRIMARY KEY,
    document_id INTEGER NOT NULL,
    vendor TEXT NOT NULL,
    issued_on TEXT NOT NULL,
    due_on TEXT,
    currency TEXT NOT NULL,
    total DOUBLE PRECISION NOT NULL,
    paid INTEGER NOT NULL,
    confidence DOUBLE PRECISION NOT NULL
);

INSERT INTO invoices VALUES
    ('A-1017', 1, 'Acme Hosting', '2025-01-15', '2025-02-14', 'USD', 1240.5, 1, 0.99),
    ('A-1044', 2, 'Acme Hosting', '2025-02-12', '2025-03-14', 'USD', 1240.5, 1, 0.99),
    ('8841', 3, 'Nordwind GmbH', '2025-02-18', '2025-03-20', 'EUR', 3890.0, 1, 0.97),
    ('8902', 4, 'Nordwind GmbH', '2025-03-19', '2025-04-18', 'EUR', 2593.34, 0, 0.96),
    ('F-204', 5, 'Lumière SARL', '2025-03-24', '2025-04-23', 'EUR', 742.8, 1, 0.94),
    ('0042?', 6, 'unknown', '2025-04-01', NULL, 'USD', 98.0, 0, 0.41),
    ('KA-77', 7, 'Kestrel Air', '2025-04-07', '2025-05-07', 'USD', 11890.25, 1, 0.98),
    ('KA-81', 8, 'Kestrel Air', '2025-05-08', '2025-06-07', 'USD', 9405.0, 0, 0.98),
    ('31', 9, 'Tanaka K.K.', '2025-05-10', '2025-05-31', 'JPY', 186000.0, 0, 0.92),
    ('OC-9', 10, 'Olive & Co', '2025-05-30', NULL, 'USD', 615.0, 1, 0.95);

CREATE TABLE reviews (
    id INTEGER NOT NULL PRIMARY KEY,
    product TEXT NOT NULL,
    stars INTEGER NOT NULL,
    text TEXT NOT NULL,
    sentiment TEXT NOT NULL,
    topic TEXT,
    confidence DOUBLE PRECISION NOT NULL
);

INSERT INTO reviews VALUES
    (1, 'desk lamp', 5, 'Warm light, no flicker.', 'positive', 'quality', 0.98),
    (2, 'desk lamp', 2, 'Arrived with a cracked shade.', 'negative', 'shipping', 0.95),
    (3, 'desk lamp', 4, 'Good, but the cable is short.', 'positive', 'design', 0.81),
    (4, 'desk lamp', 1, 'Stopped working after a week.', 'negative', 'quality', 0.97),
    (5, 'crate', 5, 'Holds more than I thought.', 'positive', 'quality', 0.93),
    (6, 'crate', 3, 'It is a crate.', 'neutral', NULL, 0.66),
    (7, 'crate', 2, 'Took five weeks to get here.', 'negative', 'shipping', 0.96),
    (8, 'crate', 4, 'Stacks well, smells a little.', 'positive', 'design', 0.74),
    (9, 'sensor', 5, 'Accurate out of the box.', 'positive', 'quality', 0.97),
    (10, 'sensor', 4, 'Setup was quick; the manual is not.', 'positive', 'documentation', 0.70),
    (11, 'sensor', 1, 'Support never answered.', 'negative', 'support', 0.99),
    (12, 'sensor', 3, 'Works as long as it is dry.', 'neutral', 'quality', 0.58);
