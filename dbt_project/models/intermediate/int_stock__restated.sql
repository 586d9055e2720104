-- The (item, stock location) series whose ledger is restated, and from which day on: from the first where what it opened
-- with, or whether that is known, may be other than it was.
select
    t.item_key,
    t.location_key,
    case
        when t.has_opening or (s.is_opened_by_statement and t.from_date <= s.stated_date) then least(s.first_date, t.from_date)
        else t.from_date
    end as from_date
from {{ ref('int_stock__touched') }} as t
left join {{ ref('int_stock__series') }} as s using (item_key, location_key)
