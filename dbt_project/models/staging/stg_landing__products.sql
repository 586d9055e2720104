with source as (
    select * from {{ source('landing', 'product') }}
),

renamed as (
    select
        -- ids
        source,
        record_id,
        item_code,
        gtin,

        -- values
        name,
        category,
        brand,
        base_unit,
        shelf_life_days,
        is_kit,
        is_active,
        list_price,
        currency,

        -- timestamps
        source_updated_at,
        launched_on,
        ingested_at,

        -- versions
        valid_load,
        superseded_load
    from source
)

select * from renamed
