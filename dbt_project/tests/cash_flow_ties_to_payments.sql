{{ config(meta={'dagster': {'ref': {'name': 'fct_cash_flow_daily'}}}) }}
with flow as (
    select kind, currency, sum(amount) as amount
    from {{ ref('fct_cash_flow_daily') }} where not is_commitment group by all
),

paid as (
    select kind, currency, sum(amount) as amount
    from {{ ref('stg_landing__payments') }}
    where superseded_load is null
        and cast(timezone('{{ requested("timezone") }}', paid_at) as date) < {{ cycle_date() }}
    group by all
)

select * from flow full join paid using (kind, currency) where flow.amount is distinct from paid.amount
