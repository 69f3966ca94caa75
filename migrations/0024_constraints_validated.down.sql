-- A validated constraint does no harm; it goes with 0023.
SELECT 1;
