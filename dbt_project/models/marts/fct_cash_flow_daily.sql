-- Money in and out by day: what was paid, and what is committed. Payments tie to the cent to what was landed. A payment
-- provider's payout passes on receipts, refunds and fees: where its source lists the receipts, the payout is not money again.
with receiving as (
    select distinct source from {{ ref('stg_landing__payments') }} where superseded_load is null and kind = 'receipt'
),

payments as (
    select
        cast(timezone('{{ requested("timezone") }}', paid_at) as date) as business_date,
        kind,
        currency,
        amount
    from {{ ref('stg_landing__payments') }}
    where superseded_load is null and (kind <> 'payout' or source not in (select source from receiving))
),

commitments as (
    -- Ordered and not yet arrived, due when it should have arrived and the supplier's terms have passed.
    select
        greatest(coalesce(p.expected_on, p.ordered_on), {{ cycle_date() }}) + cast(coalesce(d.payment_terms_days, 0) as integer)
            as business_date,
        'supplier_commitment' as kind,
        p.currency,
        cast(-round(p.outstanding_base / nullif(p.quantity_base, 0) * p.line_amount, 4) as decimal(18, 4)) as amount
    from {{ ref('fct_purchase_order_line') }} as p
    left join {{ ref('dim_party') }} as d using (party_key)
    where p.outstanding_base > 0
),

flows as (
    select *, false as is_commitment from payments where business_date < {{ cycle_date() }}
    union all
    select *, true from commitments
)

select
    f.business_date,
    f.kind,
    f.currency,
    f.is_commitment,
    cast(sum(f.amount) as decimal(18, 4)) as amount,
    cast(sum({{ to_reporting('f.amount', 'f.currency', 'rate.rate') }}) as decimal(18, 4)) as reporting_amount,
    count(*) as documents
from flows as f
asof left join {{ ref('int_exchange_rates') }} as rate
    on rate.currency = f.currency and f.business_date >= rate.date_on
group by all
