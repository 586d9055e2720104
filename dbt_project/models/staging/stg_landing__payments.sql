with source as (
    select * from {{ source('landing', 'payment') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        payment_code,
        document_code,
        party_code,

        -- values
        kind,
        amount,
        currency,

        -- timestamps
        source_updated_at,
        paid_at,
        ingested_at,

        -- versions
        valid_load,
        superseded_load
    from source
)

select * from renamed
