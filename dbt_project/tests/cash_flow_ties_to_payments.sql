{{ config(meta={'dagster': {'ref': {'name': 'fct_cash_flow_daily'}}}) }}
with flow as (
    select kind, currency, sum(amount) as amount
    from {{ ref('fct_cash_flow_daily') }} where not is_commitment group by all
),

paid as (
    select kind, currency, sum(amount) as amount
    from {{ ref('stg_landing__payments') }} as p
    where superseded_load is null
        and not (kind = 'payout' and exists (
            select 1 from {{ ref('stg_landing__payments') }} as r
            where r.source = p.source and r.kind = 'receipt' and r.superseded_load is null
        ))
        and cast(timezone('{{ requested("timezone") }}', paid_at) as date) < {{ cycle_date() }}
    group by all
)

select * from flow full join paid using (kind, currency) where flow.amount is distinct from paid.amount
