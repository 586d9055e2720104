-- Purchase order lines with what arrived on them. Orders of ours that the ERP has taken over are shown as the ERP's.
with lines as (
    select * from {{ ref('int_purchase_order_lines__resolved') }} where superseded_load is null
),

kept as (
    select l.* from lines as l
    where not exists (
        select 1 from lines as other
        where other.source <> l.source and other.reference = l.purchase_order_code
    )
),

received as (
    select
        source,
        purchase_order_code,
        purchase_order_line_code,
        sum(quantity_base) as quantity_base,
        min(business_date) as first_received_on,
        max(business_date) as last_received_on
    from {{ ref('int_receipt_lines__resolved') }}
    where superseded_load is null and business_date < {{ cycle_date() }}
    group by all
)

select
    l.purchase_order_line_key,
    l.source,
    l.purchase_order_code,
    l.line_code,
    l.reference,
    l.party_key,
    l.item_key,
    l.location_key,
    l.status,
    l.ordered_at,
    l.business_date as ordered_on,
    l.expected_on,
    l.quantity,
    l.unit,
    l.quantity_base,
    cast(coalesce(r.quantity_base, 0) as decimal(18, 6)) as received_base,
    cast(case when l.status in ('open', 'draft') then greatest(l.quantity_base - coalesce(r.quantity_base, 0), 0) else 0 end
        as decimal(18, 6)) as outstanding_base,
    r.first_received_on,
    r.last_received_on,
    cast(r.first_received_on - l.business_date as integer) as lead_time_days,
    cast(r.first_received_on - l.expected_on as integer) as days_late,
    l.unit_price,
    l.line_amount,
    l.currency,
    l.line_reporting_amount
from kept as l
left join received as r
    on r.source = l.source and r.purchase_order_code = l.purchase_order_code
    and r.purchase_order_line_code = l.line_code
where l.business_date < {{ cycle_date() }}
