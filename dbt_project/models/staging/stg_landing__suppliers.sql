with source as (
    select * from {{ source('landing', 'supplier') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        supplier_code,

        -- values
        name,
        currency,
        payment_terms_days,
        lead_time_days,
        lead_time_sd_days,
        order_weekdays,
        minimum_order_amount,

        -- timestamps
        source_updated_at,
        ingested_at,

        -- versions
        valid_load,
        superseded_load
    from source
)

select * from renamed
